from .inputs import open_head as open_head
from .inputs import open_sources as open_sources
from .judged_images import JudgedImages as JudgedImages
from .judged_images import judge_cache as judge_cache
from .network import network_loader as network_loader
from .output import prediction_lines as prediction_lines
