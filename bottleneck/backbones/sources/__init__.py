"""Sources of networks and weights: torchvision, Python files, modules."""
