from .advice import Advice as Advice
from .advise import advise as advise
from .steps import Step as Step
