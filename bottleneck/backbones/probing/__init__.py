"""Run a network before any image of the user, to see what it does."""
