"""Compare images from a folder, a tar archive and Parquet, and time planning of many members.

Run from the project's root: python -m benchmarks.extraction.sources.
"""

import functools
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.isolated_process import run_isolated
from benchmarks.helpers.log import log_row
from benchmarks.helpers.synthetic_images import write_jpegs
from bottleneck.backbones.backbone import load_backbone
from bottleneck.data.image_source import ImageSource
from bottleneck.data.images import open_images
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.setup.loading import make_spec

_BATCH = 32
_GROUP = 100  # rows of a row group, as Hugging Face's datasets write images
_PER_CLASS = 500

_FIND = """
import sys, time
from pathlib import Path
from bottleneck.data.images import open_images
start = time.perf_counter()
open_images(sys.argv[1])
Path(sys.argv[2]).write_text(str(time.perf_counter() - start))
"""


def markdown(*, images: int = 2000, members: int = 300_000, tars: int = 30, turns: int = 7) -> str:
    """Return the tables of images a second, and of seconds and memory of planning."""
    with tempfile.TemporaryDirectory() as place:
        return "\n\n".join(
            [
                "Measured by `python -m benchmarks.extraction.sources`.",
                _throughput(Path(place), images, turns),
                _planning(Path(place), members, tars),
            ]
        )


def _throughput(place: Path, images: int, turns: int) -> str:
    paths = write_jpegs(place / "photos", images)
    _write_tar(place / "photos.tar", paths, place / "photos")
    _write_parquet(place / "photos.parquet", paths)
    sources = {
        "folder": open_images(place / "photos"),
        "tar": open_images(place / "photos.tar"),
        "Parquet": open_images(place / "photos.parquet"),
    }
    encoder = _tiny_encoder()
    tasks: dict[str, Callable[[], float]] = {
        name: functools.partial(_seconds, encoder, source) for name, source in sources.items()
    }
    for warm_up in tasks.values():
        warm_up()
    seconds = interleave(tasks, turns)
    lines = [
        f"{images} generated JPEGs of 500 × 375, read and decoded for a network of one small "
        f"convolution. Medians of {turns} turns, ratios of pairs of one turn.",
        "",
        "| source | images/s | of a folder's |",
        "|---|---|---|",
    ]
    for name, values in seconds.items():
        rate, of_folder = images / median(values), ratio(seconds["folder"], values)
        lines.append(log_row(f"| {name} | {rate:.0f} | {of_folder:.2f} |"))
    return "\n".join(lines)


def _tiny_encoder() -> Encoder:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 16, 16))
    backbone = load_backbone(network, transform={"resize": 256, "crop": 224})
    spec = make_spec(backbone, precision="float32", relu=True, pool="avg")
    return Encoder(backbone, backbone.layers, spec, [torch.device("cpu")])


def _seconds(encoder: Encoder, source: ImageSource) -> float:
    count = len(source.table)
    batches = (range(i, min(i + _BATCH, count)) for i in range(0, count, _BATCH))
    start = time.perf_counter()
    for batch in encoder.encode(source, batches):
        if not batch.valid.all():
            raise RuntimeError(f"an image was rejected: {batch.reason}")
    return time.perf_counter() - start


def _write_tar(path: Path, images: Sequence[Path], root: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for image in sorted(images):
            archive.add(image, image.relative_to(root).as_posix())


def _write_parquet(path: Path, images: Sequence[Path]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("label", pa.string())])
    remaining = iter(sorted(images))
    with pq.ParquetWriter(path, schema) as writer:
        while some := list(islice(remaining, _GROUP)):
            rows = [
                {"image": {"bytes": one.read_bytes(), "path": one.name}, "label": one.parent.name}
                for one in some
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _planning(place: Path, members: int, tars: int) -> str:
    each = members // tars
    for number in range(tars):
        _write_members(place / "folders" / f"a-{number:03d}.tar", each, with_labels=False)
        _write_members(place / "shards" / f"a-{number:03d}.tar", each // 2, with_labels=True)
    third = members // 3
    _write_members(place / "one.tar", third, with_labels=False)
    with tarfile.open(place / "one.tar") as archive:
        archive.extractall(place / "one", filter="data")
    kinds = {
        f"{members} members of class folders in {tars} archives": "folders",
        f"{members // 2} images with labels beside them in {tars} archives": "shards",
        f"{third} members in one archive": "one.tar",
        f"{third} files in a folder": "one",
    }
    lines = [
        "Finding images, in a process of its own; the memory includes Python's and NumPy's.",
        "",
        "| images | seconds | peak MiB |",
        "|---|---|---|",
    ]
    for what, name in kinds.items():
        # Not a function of this module, which imports PyTorch.
        command = [sys.executable, "-c", _FIND, str(place / name), str(place / "seconds")]
        _, peak = run_isolated(command)
        seconds = float((place / "seconds").read_text())
        lines.append(log_row(f"| {what} | {seconds:.1f} | {peak / 2**20:.0f} |"))
    return "\n".join(lines)


def _write_members(path: Path, count: int, *, with_labels: bool) -> None:
    """Write an archive of members of a few bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for name, data in _members(count, with_labels=with_labels):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.write(info.tobuf(tarfile.USTAR_FORMAT))
            file.write(data.ljust(512, b"\0"))
        file.write(bytes(2 * 512))


def _members(count: int, *, with_labels: bool) -> Iterator[tuple[str, bytes]]:
    for number in range(count):
        label = f"n{number // _PER_CLASS:08d}"
        if with_labels:
            yield f"{number:08d}.cls", label.encode()
            yield f"{number:08d}.jpg", b"x"
        else:
            yield f"{label}/{number:08d}.jpg", b"x"


if __name__ == "__main__":
    print(markdown())
