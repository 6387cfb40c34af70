"""Resize: from the pixels of an image to the square that a network gets, and to its views."""
