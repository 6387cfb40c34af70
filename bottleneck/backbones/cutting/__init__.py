"""Cut a network in two at a layer, and make a module of the part behind it."""
