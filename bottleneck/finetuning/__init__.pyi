from .loading.dataset import choose_boundary as choose_boundary
from .options import TuneOptions as TuneOptions
from .training.checkpoint import remove_states as remove_states
from .training.parallel import process_group as process_group
from .training.parallel import rank as rank
from .training.run import TrainingProgress as TrainingProgress
from .tune_result import TuneResult as TuneResult
from .tuned_tail import TunedTail as TunedTail
