"""The module that is trained, its training, and the choice of learning rate and epochs."""
