import functools
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bottleneck.backbones import parallelism
from bottleneck.backbones.backbone import Backbone, load_backbone
from bottleneck.data.decoding.decode import decode_image
from bottleneck.data.resizing import views as module
from bottleneck.data.resizing.views import ViewSet
from bottleneck.data.sources.files import file_source
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.errors import DeviceMemoryError, NonFiniteCodesError
from bottleneck.extraction import ComputeOptions
from bottleneck.extraction.encoding import decoding
from bottleneck.extraction.encoding.encoder import EncodedBatch, Encoder
from bottleneck.extraction.planning.limiting_stage import slowest_stage
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.input_transform import InputTransform
from bottleneck.runtime.process.resources import available_cpus
from tests.helpers.networks import NETWORKS, PLAIN, SMALL
from tests.helpers.photographs import as_torchvision, photograph, write_photographs


@functools.cache
def loaded(model: str) -> Backbone:
    """A network that no test changes."""
    return load_backbone(model, transform=SMALL)


def encoder(model: str = PLAIN, layers: tuple[str, ...] = ("layer2",), **options: Any) -> Encoder:
    backbone = loaded(model)
    defaults: dict[str, Any] = {"relu": True, "pool": "avg", "precision": "float32"}
    devices = options.pop("devices", [torch.device("cpu")])
    compute = ComputeOptions(workers=options.pop("workers", 2))
    spec = make_spec(backbone, **(defaults | options))
    return Encoder(backbone, backbone.select_layers(layers), spec, devices, compute=compute)


def encode(encoder: Encoder, paths: list[Path], size: int = 4) -> list[EncodedBatch]:
    rows = range(len(paths))
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    return list(encoder.encode(FileSource.from_paths(paths), batches))


def joined(batches: list[EncodedBatch], layer: str = "layer2") -> np.ndarray[Any, Any]:
    return np.concatenate([batch.codes[layer] for batch in batches])


def test_codes_are_those_of_torchvisions_transforms_and_the_network(tmp_path: Path) -> None:
    paths = write_photographs(tmp_path, 6, label="ants")
    codes = joined(encode(encoder(), paths))
    from PIL import Image

    network = load_backbone(PLAIN).network
    with torch.inference_mode():
        batch = torch.stack(
            [as_torchvision(Image.open(path), resize=32, crop=32) for path in paths]
        )
        expected = network.get_submodule("layer2")(network.get_submodule("layer1")(batch))
    np.testing.assert_allclose(codes, expected.relu().mean((2, 3)).numpy(), rtol=1e-5, atol=1e-7)


def test_rows_travel_with_their_images_through_many_threads(tmp_path: Path) -> None:
    paths = write_photographs(tmp_path, 40, label="bees")
    used = encoder(workers=8)
    one_by_one = [encode(used, [path])[0].codes["layer2"][0] for path in paths]
    batches = encode(used, paths, size=7)
    assert np.concatenate([batch.row for batch in batches]).tolist() == list(range(40))
    np.testing.assert_allclose(joined(batches), one_by_one, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("model", "threads"), [(PLAIN, "network"), (f"{NETWORKS}:branching", "decode")]
)
def test_threads_that_fill_the_cores_decode_as_well(
    model: str, threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others have threads for that: a network that cannot be traced runs one batch on all cores."""
    monkeypatch.setattr(parallelism, "available_cpus", lambda: 2)
    names = set()

    def decode(data: bytes, limits: Any = None) -> Any:
        names.add(threading.current_thread().name.split("_")[0])
        return decode_image(data, limits)

    monkeypatch.setattr(module, "decode_image", decode)
    encode(encoder(model), write_photographs(tmp_path, 12, label="ants"))
    assert names == {threads}


@pytest.mark.parametrize("model", [PLAIN, f"{NETWORKS}:branching"])
@pytest.mark.parametrize(
    ("slow", "stage"),
    [((file_source, "read_image_bytes"), "read"), ((module, "decode_image"), "decode")],
)
def test_a_slow_stage_is_named_as_the_limit(
    slow: tuple[Any, str], stage: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = getattr(*slow)

    def slowly(*what: Any) -> Any:
        time.sleep(0.06)
        return plain(*what)

    used, paths = encoder(model), write_photographs(tmp_path, 6, label="ants")
    encode(used, paths)  # a network's first forward pass is slow, too
    used.stats.timer.drain()
    monkeypatch.setattr(*slow, slowly)
    encode(used, paths)
    assert slowest_stage(used.stats.timer) == stage


@pytest.mark.parametrize("size", [1, 7, pytest.param(64, marks=pytest.mark.slow)])
def test_an_image_has_the_same_codes_in_any_batch(tmp_path: Path, size: int) -> None:
    paths = write_photographs(tmp_path, 23, label="ants")
    reference = joined(encode(encoder(), paths, size=23))
    np.testing.assert_allclose(joined(encode(encoder(), paths, size)), reference, rtol=1e-5)


def test_a_bad_image_harms_no_other_in_its_batch(tmp_path: Path) -> None:
    paths = write_photographs(tmp_path, 5, label="ants")
    good = joined(encode(encoder(), paths))
    paths[2].write_bytes(b"no image")
    (batch,) = encode(encoder(), paths, size=5)
    assert batch.valid.tolist() == [True, True, False, True, True]
    assert "cannot be decoded" in batch.reason[2]
    assert [reason for i, reason in enumerate(batch.reason) if i != 2] == [""] * 4
    kept = [0, 1, 3, 4]
    np.testing.assert_allclose(batch.codes["layer2"][kept], good[kept], rtol=1e-5)
    assert not batch.codes["layer2"][2].any()


def test_a_batch_of_bad_images_alone_has_codes_of_the_right_shape(tmp_path: Path) -> None:
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    (batch,) = encode(encoder(pool="2"), paths)
    assert batch.codes["layer2"].shape == (2, 8, 2, 2)
    assert batch.reason == ["cannot be read: No such file or directory"] * 2


def test_memory_that_is_too_small_to_resize_an_image_ends_the_run_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(decoding, "resample_by_torchvision", fail)
    file = decoding.ReadImage(0, b"P6 2 1 255\n" + bytes(6), "ab" * 32, "")
    pixels = [np.zeros((9, 9, 3), np.uint8)]
    with pytest.raises(DeviceMemoryError, match="memory is too small to resize an image"):
        decoding.decode_into(pixels, file, InputTransform(resize=9, crop=9), ViewSet())


def test_a_batch_that_is_too_large_for_the_memory_ends_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = encoder()
    monkeypatch.setattr(small.runner, "allocate_batch", lambda *_: torch.empty(1 << 60))
    with pytest.raises(DeviceMemoryError, match="a smaller `batch_size`"):
        encode(small, write_photographs(tmp_path, 2, label="ants"))


def test_the_digest_is_of_the_files_bytes(tmp_path: Path) -> None:
    import hashlib

    (path,) = write_photographs(tmp_path, 1, label="ants")
    (batch,) = encode(encoder(), [path, tmp_path / "absent.jpg"])
    assert batch.image_sha256 == [hashlib.sha256(path.read_bytes()).hexdigest(), ""]


def test_nan_from_the_network_names_image_and_layer(tmp_path: Path) -> None:
    paths = write_photographs(tmp_path, 3, label="ants")
    image = photograph(1)
    image.paste((255, 255, 255), (0, 0, 48, 36))
    image.save(paths[1])
    with pytest.raises(NonFiniteCodesError) as caught:
        encode(encoder(f"{NETWORKS}:poisoned"), paths)
    assert str(paths[1]) in str(caught.value)
    assert "'layer2'" in str(caught.value)


def test_the_number_of_images_decoded_ahead_is_bounded(tmp_path: Path) -> None:
    paths = write_photographs(tmp_path, 3, label="ants")
    taken: list[int] = []

    def batches() -> Any:
        for i in range(50):
            taken.append(i)
            yield [i % 3]

    stream = encoder().encode(FileSource.from_paths(paths), batches())
    next(stream)
    assert len(taken) <= available_cpus() + 3
    stream.close()


@pytest.mark.usefixtures("bfloat16_processor")
def test_lower_precision_is_close_and_not_equal(tmp_path: Path) -> None:
    paths = write_photographs(tmp_path, 4, label="ants")
    full = joined(encode(encoder(), paths))
    lower = joined(encode(encoder(precision="bfloat16"), paths))
    assert lower.dtype == np.float32
    assert not np.array_equal(full, lower)
    cosine = (full * lower).sum(1) / np.linalg.norm(full, axis=1) / np.linalg.norm(lower, axis=1)
    assert cosine.min() > 0.999


@pytest.mark.usefixtures("float32_processor")
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_precision_that_the_processor_lacks_is_computed_in_float32_and_said(
    tmp_path: Path, precision: str
) -> None:
    paths = write_photographs(tmp_path, 4, label="ants")
    full, lower = encoder(), encoder(precision=precision)
    assert np.array_equal(joined(encode(full, paths)), joined(encode(lower, paths)))
    assert full.runner.notes == ()
    assert lower.runner.notes == (f"precision: {precision}, computed in float32 on this device",)


def test_stages_are_timed(tmp_path: Path) -> None:
    encoder_ = encoder()
    encode(encoder_, write_photographs(tmp_path, 4, label="ants"))
    assert {"read", "decode", "wait", "forward"} <= set(encoder_.stats.timer.seconds)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_the_gpu_gives_the_codes_of_the_cpu(
    tmp_path: Path, precision: str, gpu: torch.device
) -> None:
    paths = write_photographs(tmp_path, 9, label="ants")
    cpu = joined(encode(encoder(), paths))
    found = joined(encode(encoder(precision=precision, devices=[gpu]), paths))
    tolerance = 1e-3 if precision == "float32" else 3e-2  # TF32 may be on
    np.testing.assert_allclose(found, cpu, rtol=tolerance, atol=tolerance * np.abs(cpu).max())
