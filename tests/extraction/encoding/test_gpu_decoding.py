"""Images decoded a batch at a time: the way of a GPU, on a CPU in its place."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bottleneck.backbones.backbone import load_backbone
from bottleneck.data import open_images
from bottleneck.data.sources.files.file_source import FileSource
from bottleneck.errors import ExportError, InvalidOptionError
from bottleneck.exporting.export import export
from bottleneck.extraction.encoding.encoder import EncodedBatch, Encoder
from bottleneck.extraction.encoding.gpu_decoding import require_decoder
from bottleneck.extraction.options import ComputeOptions, ViewOptions
from bottleneck.extraction.plan import plan
from bottleneck.extraction.repair import repair
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.finetuning.loading.images import ImageBatches
from bottleneck.fitting.heads.head import Head
from bottleneck.input_transform import DECODERS, InputTransform
from bottleneck.prediction.predict import predict
from tests.helpers.fixture_types import Extract
from tests.helpers.image_files import encode as encode_file
from tests.helpers.image_files import exif_of
from tests.helpers.networks import PLAIN, SMALL
from tests.helpers.photographs import photograph, write_photographs

GPU_FIELDS: dict[str, Any] = SMALL | {"decoder": "gpu"}


def encode(paths: list[Path], size: int, *, decoder: str = "gpu", **options: Any) -> EncodedBatch:
    """Codes of all images, as one batch."""
    backbone = load_backbone(PLAIN, transform=SMALL | {"decoder": decoder})
    spec = make_spec(backbone, precision="float32", relu=True, pool="avg")
    devices = options.pop("devices", [torch.device("cpu")])
    encoder = Encoder(
        backbone,
        backbone.select_layers(["layer2"]),
        spec,
        devices,
        compute=ComputeOptions(workers=2),
    )
    rows = range(len(paths))
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    done = list(encoder.encode(FileSource.from_paths(paths), batches))
    return EncodedBatch(
        row=np.concatenate([batch.row for batch in done]),
        valid=np.concatenate([batch.valid for batch in done]),
        reason=[reason for batch in done for reason in batch.reason],
        image_sha256=[digest for batch in done for digest in batch.image_sha256],
        codes={"layer2": np.concatenate([batch.codes["layer2"] for batch in done])},
    )


def mixed(folder: Path) -> list[Path]:
    """Sound files of several kinds and sizes, damaged ones, and one that is not there."""
    paths = write_photographs(folder, 12, label="ants")  # every second one is a PNG
    wide = photograph(3, size=(90, 40))
    others = {
        "turned.jpg": encode_file(wide, "JPEG", exif=exif_of(6)),
        "cmyk.jpg": encode_file(wide.convert("CMYK"), "JPEG"),
        "grey.jpg": encode_file(wide.convert("L"), "JPEG", progressive=True),
        "cut.jpg": encode_file(wide, "JPEG")[:500],
        "empty.jpg": b"",
        "text.jpg": b"no image",
    }
    for name, data in others.items():
        (folder / name).write_bytes(data)
    return [*paths, *(folder / name for name in others), folder / "absent.jpg"]


@pytest.mark.parametrize("size", [1, 5, 64])
def test_codes_and_rejections_are_those_of_the_exact_decoder(
    size: int, tmp_path: Path, cpu_decodes: list[int]
) -> None:
    paths = mixed(tmp_path)
    exact, found = encode(paths, 7, decoder="exact"), encode(paths, size)
    assert found.row.tolist() == list(range(len(paths)))
    assert found.reason == exact.reason
    assert found.image_sha256 == exact.image_sha256
    assert (found.valid == exact.valid).all()
    assert found.valid.sum() == len(paths) - 4
    np.testing.assert_allclose(found.codes["layer2"], exact.codes["layer2"], rtol=1e-5, atol=1e-7)
    assert sum(cpu_decodes[1:]) == 8  # after the probe: the sound JPEGs, but for the CMYK one


def test_images_that_the_gpu_refuses_are_decoded_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cpu_decodes: list[int]
) -> None:
    paths = mixed(tmp_path)
    exact = encode(paths, 7, decoder="exact")
    monkeypatch.setattr(
        "bottleneck.extraction.encoding.gpu_decoding.decode_jpegs",
        lambda jpegs, _: [None] * len(jpegs),
    )
    found = encode(paths, 7)
    assert found.reason == exact.reason
    np.testing.assert_allclose(found.codes["layer2"], exact.codes["layer2"], rtol=1e-5, atol=1e-7)


def test_a_cache_says_that_a_gpu_decoded(
    photos: Path, tmp_path: Path, extract_tiny: Extract, cpu_decodes: list[int]
) -> None:
    cache = extract_tiny(photos, transform=GPU_FIELDS).cache
    assert cache.spec.decoder == "nvjpeg-1"
    assert sum(cpu_decodes) > 1


def test_without_a_gpu_nothing_is_begun(
    photos: Path, tmp_path: Path, extract_tiny: Extract
) -> None:
    with pytest.raises(InvalidOptionError, match=r"decoder='gpu'.*because the device is cpu"):
        extract_tiny(photos, transform=GPU_FIELDS)
    assert not (tmp_path / "cache").exists()


def test_several_gpus_of_one_process_are_refused() -> None:
    gpus = [torch.device("cuda:0"), torch.device("cuda:1")]
    require_decoder(InputTransform(), gpus)
    with pytest.raises(InvalidOptionError, match=r"2 GPUs in one process.*device=cuda:0"):
        require_decoder(InputTransform(decoder=DECODERS["gpu"]), gpus)


def test_views_are_refused(
    photos: Path, tmp_path: Path, extract_tiny: Extract, cpu_decodes: list[int]
) -> None:
    refused = pytest.raises(InvalidOptionError, match=r"views=2.*1 where a GPU decodes.*decoder=ex")
    with refused:
        extract_tiny(photos, transform=GPU_FIELDS, count=2)
    assert not (tmp_path / "cache").exists()
    with refused:
        plan(photos, model=PLAIN, layers=["layer2"], transform=GPU_FIELDS, views=ViewOptions(2))


def test_a_head_of_such_codes_needs_a_gpu_too(
    photos: Path, extract_tiny: Extract, head: Head, cpu_decodes: list[int]
) -> None:
    spec = extract_tiny(photos, transform=GPU_FIELDS).cache.spec
    of_gpu = dataclasses.replace(head, spec=spec)
    cpu = ComputeOptions(device="cpu")
    expected = [each.label for each in predict(head, photos, compute=cpu)]
    assert [each.label for each in predict(of_gpu, photos, compute=cpu)] == expected


def test_a_head_of_such_codes_is_refused_without_a_gpu(
    photos: Path, head: Head, tmp_path: Path
) -> None:
    transform = dataclasses.replace(head.spec.transform, decoder=DECODERS["gpu"])
    of_gpu = dataclasses.replace(head, spec=dataclasses.replace(head.spec, transform=transform))
    refused = r"`device='cpu'`: must be a GPU .* codes of the head, but the device is cpu: "
    with pytest.raises(InvalidOptionError, match=refused):
        predict(of_gpu, photos, compute=ComputeOptions(device="cpu"))
    with pytest.raises(ExportError, match=r"the head is for images that a GPU decodes"):
        export(of_gpu, tmp_path / "head.onnx")
    pytest.importorskip("skops")
    export(of_gpu, tmp_path / "head.skops")  # which takes codes


def test_a_cache_of_such_codes_is_repaired_on_a_gpu_alone(
    photos: Path, extract_tiny: Extract, cpu_decodes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, cpu = extract_tiny(photos, transform=GPU_FIELDS).cache, ComputeOptions(device="cpu")
    monkeypatch.undo()  # there is no GPU any longer
    assert not repair(cache, photos, compute=cpu).problems
    cache.shard_path("layer2", 0).unlink()
    refused = r"`device='cpu'`: must be a GPU .* codes of cache .*, but the device is cpu: "
    with pytest.raises(InvalidOptionError, match=refused):
        repair(cache, photos, compute=cpu)


def test_training_on_images_is_refused(photos: Path) -> None:
    with pytest.raises(InvalidOptionError, match="exact or fast to train on images"):
        ImageBatches(open_images(photos), InputTransform(decoder=DECODERS["gpu"]))


@pytest.mark.gpu
@pytest.mark.parametrize("size", [1, 5, 64])
def test_codes_by_a_gpu_are_nearly_those_of_the_exact_decoder(
    size: int, gpu: torch.device, tmp_path: Path
) -> None:
    paths = mixed(tmp_path)
    exact = encode(paths, 7, decoder="exact", devices=[gpu])
    found = encode(paths, size, devices=[gpu])
    assert found.reason == exact.reason
    assert (found.valid == exact.valid).all()
    a, b = (each.codes["layer2"][exact.valid] for each in (found, exact))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.98
