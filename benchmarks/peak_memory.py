"""Peak resident memory of an extraction, of few images and of many."""

import sys
import tempfile
from pathlib import Path

from alone import run_alone
from pictures import repeat, write_jpegs
from sizes import FULL_EXTRACTION, ExtractionSize

_MODEL, _LAYER = "squeezenet1_0", "features.12"
_SMALL = {"resize": 64, "crop": 64}  # so that many images take a minute
_DRAWN = 500  # different images; the others are links


def peak(images: Path, cache: Path) -> int:
    """Bytes that `bottleneck extract` had at most, in a process of its own."""
    program = str(Path(sys.executable).with_name("bottleneck"))
    command = [program, "extract", str(images), "-o", str(cache), "--device", "cpu"]
    command += ["--model", _MODEL, "--weights", "none", "--layer", _LAYER]
    command += [part for name, value in _SMALL.items() for part in (f"--{name}", str(value))]
    return run_alone(command)[1]


def markdown(size: ExtractionSize = FULL_EXTRACTION) -> str:
    """Both, and their ratio."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        drawn = write_jpegs(place / "drawn", min(_DRAWN, *size.memory), size=(64, 48))
        found = []
        for count in size.memory:
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
                for n, bytes_ in zip(size.memory, found, strict=True)
            ),
            f"| ratio | {many / few:.3f} |",
        ]
    )


if __name__ == "__main__":
    print(markdown())
