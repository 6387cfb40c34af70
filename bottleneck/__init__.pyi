from bottleneck.backbones.layer_table import layers as layers
from bottleneck.cache.store import Cache as Cache
from bottleneck.cache.store import open_cache as open_cache
from bottleneck.cache.store import status as status
from bottleneck.cache.verify import verify as verify
from bottleneck.data.images import open_images as open_images
from bottleneck.data.summary import summarize_images as summarize_images
from bottleneck.errors import BottleneckError as BottleneckError
from bottleneck.extraction.extract import extract as extract
from bottleneck.extraction.options import ComputeOptions as ComputeOptions
from bottleneck.extraction.options import RefreshOptions as RefreshOptions
from bottleneck.extraction.options import StorageOptions as StorageOptions
from bottleneck.extraction.options import ViewOptions as ViewOptions
from bottleneck.extraction.plan import plan as plan
from bottleneck.extraction.repair import repair as repair
from bottleneck.fitting.fit import fit as fit
from bottleneck.fitting.head import Head as Head
from bottleneck.fitting.options import SearchOptions as SearchOptions
from bottleneck.fitting.sweep import sweep as sweep
from bottleneck.linear.training import ClassifierOptions as ClassifierOptions
from bottleneck.prediction.evaluate import evaluate as evaluate
from bottleneck.prediction.predict import predict as predict
from bottleneck.runtime.executors import open_executor as open_executor
from bottleneck.runtime.scheduler import ArrayTask as ArrayTask
from bottleneck.spec import InputTransform as InputTransform
from bottleneck.spec import ViewRecipe as ViewRecipe

__version__: str
