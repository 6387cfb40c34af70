"""Tell a cache from a folder of images: it may lie among the images that it was made of."""

import os

_FILES = ("spec.json", "images.csv")


def is_cache_folder(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder is a cache, in which nothing is an image.

    Examples
    --------
    >>> is_cache_folder("tests/data/before/cache"), is_cache_folder("data/digits")
    (True, False)
    """
    # A folder that may not be looked into is none, and is an error where it is listed.
    return all(os.path.isfile(os.path.join(folder, name)) for name in _FILES)  # noqa: PTH113, PTH118
