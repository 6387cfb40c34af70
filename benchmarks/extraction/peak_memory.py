"""Measure the peak resident memory of an extraction of few images and of many."""

import sys
import tempfile
from pathlib import Path

from benchmarks.helpers.isolated_process import run_isolated
from benchmarks.helpers.synthetic_images import repeat, write_jpegs
from benchmarks.profiles import FULL_EXTRACTION, ExtractionProfile

_MODEL, _LAYER = "squeezenet1_0", "features.12"
_SMALL = {"resize": 64, "crop": 64}  # so that many images take a minute
_DRAWN = 500  # different images; the others are links


def peak(images: Path, cache: Path) -> int:
    """Return the peak resident bytes of `bottleneck extract` in its own process."""
    program = str(Path(sys.executable).with_name("bottleneck"))
    command = [program, "extract", str(images), "-o", str(cache), "--device", "cpu"]
    command += ["--model", _MODEL, "--weights", "none", "--layer", _LAYER]
    command += [part for name, value in _SMALL.items() for part in (f"--{name}", str(value))]
    return run_isolated(command)[1]


def markdown(profile: ExtractionProfile = FULL_EXTRACTION) -> str:
    """Return both peaks and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        drawn = write_jpegs(place / "drawn", min(_DRAWN, *profile.memory), size=(64, 48))
        found = []
        for count in profile.memory:
            repeat(drawn, place / f"{count}", count)
            found.append(peak(place / f"{count}", place / f"{count}.cache"))
    few, many = found
    return "\n".join(
        [
            f"{_MODEL}, {_LAYER}, averaged, generated JPEGs of 64 × 48 at a crop of "
            f"{_SMALL['crop']}, each `bottleneck extract` in a process of its own.",
            "",
            "| images | peak MiB |",
            "|---|---|",
            *(
                f"| {n} | {bytes_ / 2**20:.0f} |"
                for n, bytes_ in zip(profile.memory, found, strict=True)
            ),
            f"| ratio | {many / few:.3f} |",
        ]
    )


if __name__ == "__main__":
    print(markdown())
