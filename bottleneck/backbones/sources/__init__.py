"""Sources of networks and weights: torchvision, timm and its hub, Python files, modules.

Each kind of source is a module, and `model_source` chooses one. They share `inspection`, which
describes a network as its source gives it, and `user_files`, the imports of a Python file.
"""
