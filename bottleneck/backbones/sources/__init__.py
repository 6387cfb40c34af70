"""Sources of networks and weights: torchvision, timm and its hub, Python files, modules."""
