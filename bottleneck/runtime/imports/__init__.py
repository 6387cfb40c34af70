"""Modules that are imported without others which they ask for and hardly ever need."""
