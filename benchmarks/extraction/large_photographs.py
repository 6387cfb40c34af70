"""What the fast decoder gains on large photographs, and what it costs.

    python -m benchmarks.extraction.large_photographs [REAL]

Images of 12 megapixels are generated, with the spectrum of photographs (amplitudes fall with the
frequency), so that they are as hard to decode as a camera's. Freed memory stays with the process,
as in a run. With REAL, the folder of photographs and networks, the codes and the held-out accuracy
of both decoders are compared on ants and bees, at an input so small that their JPEGs are decoded at
a half.
"""

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import bottleneck as bn
from benchmarks.helpers.log import log_row
from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.resizing.resize import resize_and_crop
from bottleneck.data.resizing.torch_resampling import resample_by_torchvision
from bottleneck.input_transform import CPU_DECODERS, InputTransform
from bottleneck.runtime import retain_freed_memory

_WIDTH, _HEIGHT = 4000, 3000
_IMAGES, _LINKS = 8, 64
_QUALITIES = (95, 90, 75)
_QUALITY_OF_A_RUN = 90
_REPEATS = 3
_LAYER = "features.12"


def natural_image(seed: int) -> Image.Image:
    """Return 12 megapixels of noise whose amplitudes fall with the frequency, and fine grain."""
    rng = np.random.default_rng(seed)
    down, across = np.fft.fftfreq(_HEIGHT), np.fft.rfftfreq(_WIDTH)
    falling = np.maximum(np.hypot(down[:, None], across), 1 / _WIDTH) ** -1.3
    planes = []
    for _ in range(3):
        spectrum = np.fft.rfft2(rng.standard_normal((_HEIGHT, _WIDTH), dtype=np.float32))
        plane = np.fft.irfft2(spectrum * falling, s=(_HEIGHT, _WIDTH))
        planes.append(plane / plane.std() * 50 + 128)
    grain = rng.standard_normal((_HEIGHT, _WIDTH, 1), dtype=np.float32) * 2
    pixels: NDArray[np.uint8] = np.clip(np.stack(planes, -1) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def jpeg(image: Image.Image, quality: int) -> bytes:
    """Return an image as a file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def decoding(images: list[Image.Image], quality: int) -> None:
    """Print milliseconds an image of both decoders, in turns on one thread."""
    files = [jpeg(image, quality) for image in images]
    transforms = {name: InputTransform(decoder=rule) for name, rule in CPU_DECODERS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in transforms}
    for _ in range(_REPEATS):
        for name, transform in transforms.items():
            begun = time.process_time()
            for data in files:
                pixels = decode_image(data, transform)
                resize_and_crop(pixels, transform, resample=resample_by_torchvision)
            seconds[name].append((time.process_time() - begun) / len(files))
    best = {name: 1000 * min(found) for name, found in seconds.items()}
    size = np.mean([*map(len, files)]) / 1e6
    log_row(
        f"quality {quality}, {size:.1f} MB: exact {best['exact']:.1f} ms, "
        f"fast {best['fast']:.1f} ms an image, "
        f"{best['exact'] / best['fast']:.1f} times as fast"
    )


def extraction(photographs: Path, folder: Path) -> None:
    """Print images/s of extraction with both decoders, in turns."""
    rates: dict[str, list[float]] = {name: [] for name in CPU_DECODERS}
    for repeat in range(_REPEATS):
        for name in CPU_DECODERS:
            done = bn.extract(
                photographs,
                folder / f"{name}{repeat}.cache",
                model="squeezenet1_0",
                weights="none",
                layers=[_LAYER],
                transform={"decoder": name},
            )
            rates[name].append(done.rows / done.seconds)
    best = {name: max(found) for name, found in rates.items()}
    log_row(
        f"extracted by SqueezeNet: exact {best['exact']:.1f}, fast {best['fast']:.1f} images/s, "
        f"{best['fast'] / best['exact']:.1f} times as fast"
    )


def agreement(real: Path, folder: Path) -> None:
    """Print how near the codes of both decoders are, and the held-out accuracy of either."""
    codes, scores = {}, {}
    for name in CPU_DECODERS:
        cache = bn.extract(
            real / "data/hymenoptera",
            folder / f"{name}.cache",
            model="squeezenet1_0",
            weights=str(real / "weights/squeezenet1_0_imagenet.pth"),
            layers=[_LAYER],
            transform={"resize": 112, "crop": 96, "decoder": name},
            compute=bn.ComputeOptions(precision="float32"),
        ).cache
        codes[name] = cache.load(_LAYER)[0].astype(np.float64)
        scores[name] = bn.fit(cache, "svm").score
    one, other = codes.values()
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / norms
    log_row(
        f"ants and bees at 96 pixels, {_LAYER}: cosine of the codes {np.median(cosines):.4f} in "
        f"the median, at least {cosines.min():.4f}; svm held out {scores['exact']:.1%} exact, "
        f"{scores['fast']:.1%} fast"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("real", type=Path, nargs="?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photographs = folder / "photographs"
        photographs.mkdir()
        images = [natural_image(seed) for seed in range(_IMAGES)]
        with retain_freed_memory():
            for quality in _QUALITIES:
                decoding(images, quality)
        for number, image in enumerate(images):
            first = photographs / f"{number}.jpg"
            first.write_bytes(jpeg(image, _QUALITY_OF_A_RUN))
            for link in range(1, _LINKS):
                (photographs / f"{number}-{link}.jpg").hardlink_to(first)
        extraction(photographs, folder)
        if options.real:
            agreement(options.real, folder)


if __name__ == "__main__":
    main()
