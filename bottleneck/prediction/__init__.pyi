from .inputs import open_head as open_head
from .inputs import open_sources as open_sources
from .output import prediction_lines as prediction_lines
