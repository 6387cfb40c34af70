"""A classifier with its network as one file for other programs: ONNX, TorchScript, scikit-learn."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
