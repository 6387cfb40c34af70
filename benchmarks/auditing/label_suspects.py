"""Precision and recall of suspect labels where a part of the labels was made wrong.

    python -m benchmarks.auditing.label_suspects CACHE [LAYER ...]

Of a cache with one label an image, 5 % of the labels are changed to another class, drawn with a
seed; the audit has to find them. Labels that were wrong before count as false findings.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np

import bottleneck as bn

_SHARE = 0.05
_SEEDS = 5


def main() -> None:
    """Print a line for each seed, and what is said of the labels as they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cache")
    parser.add_argument("layers", nargs="*")
    options = parser.parse_args()
    layers = options.layers or "all"
    cache = bn.open_cache(options.cache)
    untouched = bn.audit(cache, layers=layers)
    doubted = {suspect.path for suspect in untouched.suspects}
    print(f"labels as they are: {len(doubted)} of {untouched.labels.examined} are suspect")
    images = cache.images
    labelled = np.flatnonzero(cache.valid_rows(cache.layers[0]) & images.has_label)
    classes = sorted(set(images.label.take(labelled).categories))
    for seed in range(_SEEDS):
        rng = np.random.default_rng(seed)
        flipped = rng.choice(labelled, round(_SHARE * len(labelled)), replace=False).tolist()
        label = {row: images.label[row] for row in labelled.tolist()}
        for row in flipped:
            label[row] = str(rng.choice([name for name in classes if name != label[row]]))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "labels.csv"
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["path", "label", "split"])
                writer.writerows(
                    [images.path[r], name, images.split[r]] for r, name in label.items()
                )
            suspects = bn.audit(cache, layers=layers, labels=path).suspects
        wrong = {images.path[row] for row in flipped}
        found = [suspect.path in wrong for suspect in suspects]
        right_class = [
            suspect.suggested == images.label[row]
            for suspect in suspects
            for row in flipped
            if images.path[row] == suspect.path
        ]
        top = found[: len(wrong)]
        other = sum(suspect.path in doubted - wrong for suspect in suspects)
        print(
            f"seed {seed}: {len(wrong)} labels changed; {len(suspects)} suspects, of which "
            f"{sum(found)} changed and {other} suspect before; precision {np.mean(found):.2f}, "
            f"recall {sum(found) / len(wrong):.2f}; among the first {len(wrong)} "
            f"{np.mean(top):.2f}; first 10 {np.mean(found[:10]):.2f}; "
            f"suggested class right {np.mean(right_class):.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
