from .sweep_plot import plot_sweep as plot_sweep
from .sweep_plot import require_picture as require_picture
from .sweep_plot import sweep_figure as sweep_figure
