"""Bring a cache up to date with its images: what stays, what is made again, what goes."""
