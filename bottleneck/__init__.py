"""Linear classifiers on the cached codes of a frozen CNN.

The data's way: images → codes → shards → head → prediction. Importing the package imports
nothing heavy (pandas tries to import any package of this name): take what you need from its
modules, `bottleneck.extraction.extract`, `bottleneck.fitting.fit`, `bottleneck.prediction.predict`.
"""

__version__ = "0.1.0"
