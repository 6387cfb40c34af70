"""How long an image holds Python's lock on its way to pixels, and what that allows a process.

    python -m benchmarks.extraction.python_lock [REAL]

Decoding, resizing and copying let other threads run. All the rest is counted as holding the lock,
so that the figures are upper bounds: the time of a thread in which the decoder and the resizing are
replaced by ones that return at once, and what a call of these costs on 8 × 8 pixels; less what
NumPy's copy takes longer than one of a single pixel.

Then threads sleep in place of decoding, resizing and hashing, as long as these take here, while the
encoder's own code reads files, hands them to its threads and makes batches: as if each thread had
a core to decode on. The network costs nothing. Where `processors` times the rate is near the number
of cores, these are the limit, and not the lock. With REAL, a photograph of a camera is measured as
well.
"""

import argparse
import functools
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import simplejpeg
import torch
from PIL import Image

from benchmarks.extraction.large_photographs import natural_image
from benchmarks.helpers.interleave import interleave, median
from benchmarks.helpers.log import log_row
from benchmarks.helpers.machine import machine
from benchmarks.helpers.synthetic_images import write_jpegs
from bottleneck.backbones.backbone import load_backbone
from bottleneck.data.image_source import ImageSource
from bottleneck.data.images import open_images
from bottleneck.data.resizing.torch_resampling import resample_by_torchvision
from bottleneck.data.resizing.views import decode_views
from bottleneck.extraction import ComputeOptions
from bottleneck.extraction.encoding import decoding
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import sha256

_TRANSFORM = InputTransform()
_BATCH = 64
_IMAGES = 6400
_TURNS = 5


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("real", type=Path, nargs="?")
    options = parser.parse_args()
    torch.set_num_threads(1)
    log_row(machine())
    with tempfile.TemporaryDirectory() as name:
        (path,) = write_jpegs(Path(name), 1)
        for label, data in _files(path, options.real).items():
            log_row(f"{label}, {len(data) / 1e3:.0f} kB: {1e3 * _lock(data):.3f} ms of lock")
        _simulate(path, Path(name) / "many")


def _files(path: Path, real: Path | None) -> dict[str, bytes]:
    image = Image.open(path)
    exif = Image.Exif()
    exif.update({0x010F: "Maker", 0x0110: "Model", 0x0112: 1, 0x011A: 72.0, 0x0128: 2})
    large = natural_image(0)
    ways: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "500 × 375": (image, {}),
        "500 × 375, EXIF": (image, {"exif": exif}),
        "500 × 375, progressive": (image, {"progressive": True}),
        "12 megapixels": (large, {}),
        "12 megapixels, progressive": (large, {"progressive": True}),
    }
    files = {}
    for label, (picture, how) in ways.items():
        target = path.with_name("way.jpg")
        picture.save(target, "JPEG", quality=90, **how)
        files[label] = target.read_bytes()
    if real:
        photograph = next(
            data
            for each in sorted((real / "data/hymenoptera").rglob("*.jpg"))
            if b"Exif\0" in (data := each.read_bytes()) and data.count(b"\xff\xd8\xff") > 1
        )
        files["photograph with a thumbnail"] = photograph
    return files


def _pixels(data: bytes) -> None:
    """Do what a decoding thread does with a file."""
    (made,) = decode_views(data, _TRANSFORM, image_sha256="", resample=resample_by_torchvision)
    _TARGET[...] = made


_TARGET = np.empty((_TRANSFORM.crop, _TRANSFORM.crop, 3), dtype=np.uint8)


def _lock(data: bytes) -> float:
    """Return seconds an image; at most that long is the lock held."""
    tiny = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG")
    calls = {
        "decode": functools.partial(simplejpeg.decode_jpeg, file.getvalue()),
        "resize": functools.partial(torch._C._nn._upsample_bilinear2d_aa, tiny, [7, 7], False),
    }
    with _calls_replaced(data):
        measured: dict[str, Callable[[], object]] = {
            **calls,
            "rest": functools.partial(_pixels, data),
            "short copy": functools.partial(_copy, slice(1)),
            "copy": functools.partial(_copy, slice(None)),
        }
        found = interleave(
            {name: functools.partial(_own, call) for name, call in measured.items()}, _TURNS
        )
    seconds = {name: median(each) for name, each in found.items()}
    return sum(seconds.values()) - 2 * seconds["copy"]


_RESIZED = np.zeros((_TRANSFORM.resize, 341, 3), dtype=np.uint8)  # what 500 × 375 become


def _copy(part: slice) -> None:
    """Copy a part of a resized image's rows and columns, as decoding does."""
    square = _RESIZED[: _TRANSFORM.crop, : _TRANSFORM.crop]
    _TARGET[part, part] = square[part, part]


def _own(call: Callable[[], object], at_least: float = 0.1) -> float:
    """Return the least seconds of this thread that a call takes, over ten lots."""
    call()
    begun, once = time.thread_time(), 0
    while (spent := time.thread_time() - begun) < at_least / 10:
        call()
        once += 1
    best = spent / once
    for _ in range(9):
        begun = time.thread_time()
        for _ in range(once):
            call()
        best = min(best, (time.thread_time() - begun) / once)
    return best


@contextmanager
def _calls_replaced(data: bytes, sleep: Mapping[str, float] | None = None) -> Iterator[None]:
    """Let decoder and resizing return what they once returned for a file, after a while."""
    wait = sleep or {}
    ready: dict[str, Any] = {}
    _pixels(data)  # the first decoding compares the decoders
    originals: dict[str, Callable[..., Any]] = {
        "decode": simplejpeg.decode_jpeg,
        "resize": _resize_operator(),
    }

    def stand_in(name: str, *arguments: Any, **options: Any) -> Any:
        if name not in ready:
            ready[name] = originals[name](*arguments, **options)
        if name in wait:
            time.sleep(wait[name])
        return ready[name]

    with (
        patch.object(simplejpeg, "decode_jpeg", functools.partial(stand_in, "decode")),
        patch.object(
            torch._C._nn, "_upsample_bilinear2d_aa", functools.partial(stand_in, "resize")
        ),
    ):
        _pixels(data)
        yield


def _resize_operator() -> Callable[..., torch.Tensor]:
    operator: Callable[..., torch.Tensor] = torch._C._nn._upsample_bilinear2d_aa
    return operator


def _simulate(path: Path, many: Path) -> None:
    """Print images/s of the encoder with threads that sleep."""
    data = path.read_bytes()
    sleep = _durations(data)
    (many / "class").mkdir(parents=True)
    for number in range(_IMAGES):
        (many / "class" / f"{number}.jpg").hardlink_to(path)
    source = open_images(many)
    log_row("asleep, ms: " + ", ".join(f"{name} {1e3 * t:.2f}" for name, t in sleep.items()))
    for threads in (1, 4, 8, 16, 32):
        turns = [_rate(source, data, sleep, threads) for _ in range(_TURNS)]
        rate, busy = max(turns)[0], min(busy for _, busy in turns)
        most = threads / (sleep["decode"] + sleep["resize"])
        log_row(
            f"{threads} threads: {rate:.0f} images/s, {1e3 * busy:.3f} ms of processors an image; "
            f"asleep alone they allow {most:.0f} images/s"
        )


def _durations(data: bytes) -> dict[str, float]:
    resize = _resize_operator()
    pixels = torch.from_numpy(simplejpeg.decode_jpeg(data)).permute(2, 0, 1)[None]
    return {
        "decode": _own(lambda: simplejpeg.decode_jpeg(data)),
        "resize": _own(lambda: resize(pixels, [256, 341], False)),
        "hash": _own(lambda: sha256(data)),
    }


def _rate(
    source: ImageSource, data: bytes, sleep: dict[str, float], threads: int
) -> tuple[float, float]:
    """Return images/s, and seconds of all processors an image."""
    encoder = _encoder(threads)
    count = len(source.table)
    digest = sha256(data)

    def hashing(_: bytes) -> str:
        time.sleep(sleep["hash"])
        return digest

    batches = (range(i, i + _BATCH) for i in range(0, count, _BATCH))
    with _calls_replaced(data, sleep), patch.object(decoding, "sha256", hashing):
        begun, busy = time.perf_counter(), time.process_time()
        for batch in encoder.encode(source, batches):
            if not batch.valid.all():
                raise RuntimeError(f"an image was rejected: {batch.reason}")
        busy = time.process_time() - busy
        return count / (time.perf_counter() - begun), busy / count


def _encoder(threads: int) -> Encoder:
    """Return an encoder that decodes in threads of its own, as for a GPU, and computes nothing."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 16, 16))
    backbone = load_backbone(
        network, transform={"resize": _TRANSFORM.resize, "crop": _TRANSFORM.crop}
    )
    spec = make_spec(backbone, precision="float32", relu=True, pool="avg")
    compute = ComputeOptions(workers=threads)
    encoder = Encoder(backbone, backbone.layers, spec, [torch.device("cpu")], compute=compute)
    encoder.runner.uses_all_cpus = False
    nothing = functools.partial(np.zeros, dtype=np.float32)
    run: Any = lambda images: {"0": nothing((len(images), 2))}  # noqa: E731
    encoder.runner.run = run  # type: ignore[method-assign]
    return encoder


if __name__ == "__main__":
    main()
