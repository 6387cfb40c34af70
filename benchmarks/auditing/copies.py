"""Confirm the near duplicates that an audit finds by the images themselves.

    python -m benchmarks.auditing.copies CACHE IMAGES [LAYER ...]

IMAGES is the folder that the paths of the cache begin in. Two images show the same if an affine map
takes at least seven local features of one (SIFT, as it is and mirrored) to those of the other; no
network is asked. It needs opencv-python-headless, which the project does not.

Two questions: which of the pairs that the audit finds are confirmed, and, of images drawn from the
other splits, how many have a copy in train, of which the audit names how many as leaks.
"""

import argparse
import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bottleneck as bn

_FEATURES = 100  # of an image
_SIMILAR = 0.92  # product of two RootSIFT descriptors
_AGREEING = 7
_DRAWN = 100

Features = tuple[NDArray[np.float32], NDArray[np.float32]]


class Matcher:
    """Local features of images, compared two by two."""

    def __init__(self, folder: Path) -> None:
        self._cv2: Any = importlib.import_module("cv2")
        self._sift = self._cv2.SIFT_create(nfeatures=_FEATURES, contrastThreshold=0.02)
        self._folder = folder
        self._known: dict[tuple[str, bool], Features] = {}

    def show_the_same(self, first: str, second: str) -> bool:
        """Return whether a map takes features of one image, or of its mirror, to the other's."""
        there = self._features(second, mirrored=False)
        return any(self._match(self._features(first, mirrored=m), there) for m in (False, True))

    def _features(self, path: str, *, mirrored: bool) -> Features:
        if (path, mirrored) not in self._known:
            image = self._cv2.imread(str(self._folder / path))
            image = image[:, ::-1].copy() if mirrored else image
            # None at the border of what an augmentation filled with black.
            seen = (image.max(axis=2) > 25).astype(np.uint8) * 255
            seen = self._cv2.erode(seen, np.ones((15, 15), np.uint8))
            grey = self._cv2.cvtColor(image, self._cv2.COLOR_BGR2GRAY)
            points, found = self._sift.detectAndCompute(grey, seen)
            values = np.zeros((0, 128), np.float32) if found is None else found
            # RootSIFT: R. Arandjelović and A. Zisserman, CVPR 2012.
            values = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1))
            places = np.array([point.pt for point in points], np.float32).reshape(-1, 2)
            self._known[path, mirrored] = (places[:_FEATURES], values[:_FEATURES])
        return self._known[path, mirrored]

    def _match(self, first: Features, second: Features) -> bool:
        products = first[1] @ second[1].T
        if products.size == 0:
            return False
        best = products.argmax(axis=1)
        mutual = products.argmax(axis=0)[best] == np.arange(len(best))
        kept = mutual & (products[np.arange(len(best)), best] > _SIMILAR)
        if kept.sum() < _AGREEING:
            return False
        matrix, agreeing = self._cv2.estimateAffine2D(
            first[0][kept], second[0][best[kept]], ransacReprojThreshold=3
        )
        if matrix is None or agreeing.sum() < _AGREEING or np.linalg.det(matrix[:, :2]) <= 0:
            return False
        stretch = np.linalg.svd(matrix[:, :2])[1]
        return bool(stretch[0] < 2 and stretch[1] > 0.5)


def main() -> None:
    """Print what is confirmed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache")
    parser.add_argument("images", type=Path)
    parser.add_argument("layers", nargs="*")
    parser.add_argument("--labels", help="a CSV with other splits")
    options = parser.parse_args()
    cache, matcher = bn.open_cache(options.cache), Matcher(options.images)
    found = bn.audit(cache, layers=options.layers or "all", labels=options.labels)
    confirmed = [matcher.show_the_same(*group.pair) for group in found.near]
    print(
        f"{len(found.near)} sets; the pair that shows it is confirmed in {np.mean(confirmed):.1%}"
    )
    split = _splits(cache, options.labels)
    train = [path for path, name in split.items() if name == "train"]
    others = sorted(path for path, name in split.items() if name not in ("", "train"))
    drawn = np.random.default_rng(0).permutation(others)[:_DRAWN].tolist()
    leaks = {path for path in drawn if any(matcher.show_the_same(path, one) for one in train)}
    named = set(found.leaked) & set(drawn)
    print(
        f"{len(drawn)} of {len(others)} held-out images: {len(leaks)} have a copy in train, of "
        f"which {len(named & leaks)} are named as leaks; {len(named - leaks)} others are named"
    )


def _splits(cache: bn.Cache, labels: str | None) -> dict[str, str]:
    from bottleneck.fitting import labelled_images

    table = labelled_images(cache, labels).table
    return dict(zip(table.path, table.split, strict=True))


if __name__ == "__main__":
    main()
