from .advice import Advice as Advice
from .advise import advise as advise
