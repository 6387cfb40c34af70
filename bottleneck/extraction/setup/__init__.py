"""Choose what decides the codes of a run: network, precision, range of pixels, views."""
