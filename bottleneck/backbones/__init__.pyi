from .backbone import Backbone as Backbone
from .backbone import load_backbone as load_backbone
from .cutting.tail import Tail as Tail
from .inference.runner import BatchRunner as BatchRunner
from .layers.layer import Layer as Layer
from .recall import recall_network as recall_network
from .sources.weights import is_weights_file as is_weights_file
