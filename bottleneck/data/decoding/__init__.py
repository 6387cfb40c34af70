"""From the bytes of an image file to RGB pixels, and to the square that a network takes."""
