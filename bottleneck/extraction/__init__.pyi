from .options import ComputeOptions as ComputeOptions
from .options import RefreshOptions as RefreshOptions
from .options import StorageOptions as StorageOptions
from .options import ViewOptions as ViewOptions
from .result import Progress as Progress
from .running.encoder import EncodedBatch as EncodedBatch
from .setup.loading import load_encoder as load_encoder
