from .fit_plot import fit_figure as fit_figure
from .picture import output_figure as output_figure
from .picture import require_picture as require_picture
from .sweep_plot import sweep_figure as sweep_figure
