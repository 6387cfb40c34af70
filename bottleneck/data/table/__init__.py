"""The table of images and its columns of text, in memory and as CSV."""
