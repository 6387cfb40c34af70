from .encoder import EncodedBatch as EncodedBatch
from .loading import load_encoder as load_encoder
from .options import ComputeOptions as ComputeOptions
from .options import RefreshOptions as RefreshOptions
from .options import StorageOptions as StorageOptions
from .result import Progress as Progress
