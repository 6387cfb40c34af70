"""Files as other programs run them, against a hook on the whole network; and what is refused."""

import builtins
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bottleneck.backbones.backbone import Backbone
from bottleneck.errors import (
    BackboneError,
    ExportError,
    HeadError,
    InvalidOptionError,
    MissingPackageError,
    OutputExistsError,
)
from bottleneck.exporting import onnx_file
from bottleneck.exporting.export import export
from bottleneck.exporting.module import ExportedModule
from bottleneck.exporting.torchscript_file import write_torchscript
from bottleneck.extraction.options import ComputeOptions
from bottleneck.finetuning.tuned_tail import TunedTail
from bottleneck.fitting.heads.head import Head
from bottleneck.prediction.exported.metadata import ExportMetadata
from bottleneck.prediction.exported.onnx_model import OnnxModel
from bottleneck.prediction.predict import predict
from tests.helpers.exports import (
    CLASSES,
    PLATT,
    a_head,
    a_tuned_tail,
    as_input,
    expected_scores,
    plain_network,
    some_pixels,
)
from tests.helpers.networks import NETWORKS, PLAIN
from tests.helpers.photographs import photograph, write_photographs

CPU = ComputeOptions(device="cpu")


@pytest.fixture(scope="module")
def network() -> Backbone:
    return plain_network()


@pytest.fixture(scope="module")
def head(network: Backbone) -> Head:
    return a_head(network, ["layer3", "layer2", "layer2@2x2"])


@pytest.fixture(scope="module")
def exported(head: Head, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "head.onnx"
    result = export(head, path, model=PLAIN)
    assert result.difference < 1e-5
    assert result.size == path.stat().st_size
    assert result.to_dict()["bytes"] == result.size
    return path


def session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


# ONNX


@pytest.mark.parametrize("n", [1, 2, 5])
def test_onnxruntime_gives_the_heads_scores_of_hooked_codes(
    exported: Path, head: Head, network: Backbone, n: int
) -> None:
    pixels = some_pixels(n, seed=n)
    expected, values = expected_scores(head, network, pixels)
    scores, labels = session(exported).run(["probabilities", "labels"], {"images": pixels})
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert labels.tolist() == values.argmax(axis=1).tolist()


def test_a_file_says_what_it_takes_and_what_it_is(exported: Path, head: Head) -> None:
    running = session(exported)
    (images,), outputs = running.get_inputs(), running.get_outputs()
    assert (images.name, images.type, images.shape) == (
        "images", "tensor(uint8)", ["batch", 32, 32, 3]
    )  # fmt: skip
    assert [output.name for output in outputs] == ["probabilities", "labels"]
    about, content = running.get_modelmeta().custom_metadata_map, exported.read_bytes()
    digest = about["bottleneck.sha256"].encode()
    zeroed = content.replace(digest, b"0" * 64)
    assert hashlib.sha256(zeroed).hexdigest() == digest.decode()
    said = json.loads(about["bottleneck"])
    assert said["labels"] == CLASSES
    assert said["layers"] == ["layer3", "layer2", "layer2@2x2"]
    assert said["spec"]["preprocess"]["crop"] == 32
    assert said["spec_digest"] == head.spec.digest()
    assert (said["format"], said["classifier"]) == ("bottleneck-export", "svm")
    (opset,) = [each.version for each in onnx.load(exported).opset_import if not each.domain]
    assert said["opset"] == opset
    assert [path.name for path in exported.parent.iterdir()] == ["head.onnx"]  # weights inside


def test_predict_runs_the_file_as_it_runs_the_head(
    exported: Path, head: Head, tmp_path: Path
) -> None:
    paths = write_photographs(tmp_path, 5, label="bees")
    (tmp_path / "zzz.jpg").write_bytes(b"no image")
    expected = list(predict(head, [*paths, tmp_path / "zzz.jpg"], model=PLAIN, compute=CPU))
    small = ComputeOptions(device="cpu", batch_size=2)
    found = list(predict(exported, [*paths, tmp_path / "zzz.jpg"], compute=small))
    assert [(p.path, p.label, p.reason) for p in found] == [
        (p.path, p.label, p.reason) for p in expected
    ]
    for a, b in zip(found, expected, strict=True):
        assert list(a.scores) == list(b.scores)
        np.testing.assert_allclose(list(a.scores.values()), list(b.scores.values()), atol=1e-5)


def test_several_labels_in_views_of_floats(network: Backbone, tmp_path: Path) -> None:
    head = a_head(network, multilabel=True, calibration=PLATT, views=3)
    paths = write_photographs(tmp_path / "photos", 3, label="ants")
    result = export(
        head, tmp_path / "h.onnx", input_type="float", views=3, check=paths, model=PLAIN
    )
    assert result.checked == "3 images"
    assert "it takes 3 views of each image and averages them" in str(result)
    expected = list(predict(head, paths, model=PLAIN, compute=CPU))
    found = list(predict(tmp_path / "h.onnx", paths))
    assert [p.label for p in found] == [p.label for p in expected]
    for a, b in zip(found, expected, strict=True):
        assert a.scores == pytest.approx(b.scores, abs=1e-5)
    with pytest.raises(InvalidOptionError, match="`views=1`: must be 3"):
        predict(tmp_path / "h.onnx", paths, views=1)


@pytest.mark.slow  # in TorchScript below; exporting ONNX takes seconds
def test_a_tail_in_onnx(network: Backbone, tmp_path: Path) -> None:
    tail = a_tuned_tail(network, "layer1")
    export(tail, tmp_path / "tail.onnx", model=PLAIN)
    pixels = some_pixels(4)
    scores, _ = session(tmp_path / "tail.onnx").run(None, {"images": pixels})
    with torch.inference_mode():
        whole = network.network
        maps = whole.get_submodule("layer1")(as_input(pixels, network))
        codes = whole.get_submodule("layer3")(whole.get_submodule("layer2")(maps)).relu()
        assert tail.module is not None
        logits = tail.module.get_submodule("output")(codes.mean((2, 3)))
    np.testing.assert_allclose(scores, logits.softmax(1).numpy(), atol=1e-5)


NO_TORCH = """
import sys
from bottleneck.cli import main
main(sys.argv[1:], standalone_mode=False)
assert not {"torch", "torchvision", "sklearn"} & set(sys.modules)
"""


def test_predict_loads_no_pytorch(exported: Path, tmp_path: Path) -> None:
    (path,) = write_photographs(tmp_path, 1, label="bees")
    command = [sys.executable, "-c", NO_TORCH, "predict", str(exported), str(path), "--top", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    (prediction,) = predict(exported, path)
    scores = "  ".join(f"{name} {value:.3f}" for name, value in prediction.scores.items())
    assert done.stdout == f"{path}  {scores}\n"


def test_the_script_of_the_page_serves_the_file_without_this_package(
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = Path(__file__).parents[2] / "docs" / "export.md"
    script = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)[0]
    assert not re.search("import.*bottleneck", script)
    monkeypatch.chdir(tmp_path)
    shutil.copy(exported, "ants.onnx")
    photograph(3, "bees", size=(61, 47)).save("new.jpg", quality=95)
    exec(script, {})
    label, probability = capsys.readouterr().out.split()
    (prediction,) = predict("ants.onnx", "new.jpg")
    assert label == prediction.label
    assert float(probability) == pytest.approx(prediction.scores[label], abs=0.02)


# TorchScript


@pytest.mark.filterwarnings("ignore:.torch.jit.load. is deprecated")
@pytest.mark.parametrize("kind", ["head", "tail", "network"])
def test_torchscript_gives_the_same(
    kind: str, head: Head, network: Backbone, tmp_path: Path
) -> None:
    tails = {"tail": "layer1", "network": None}
    classifier = head if kind == "head" else a_tuned_tail(network, tails[kind])
    result = export(classifier, tmp_path / "head.pt", model=PLAIN)
    assert (result.format, result.metadata and result.metadata.opset) == ("TorchScript", None)
    extra = {"bottleneck.json": ""}
    loaded: Any = torch.jit.load(tmp_path / "head.pt", _extra_files=extra)  # type: ignore[no-untyped-call, unused-ignore]
    assert json.loads(extra["bottleneck.json"])["labels"] == CLASSES
    for n in (1, 5):
        pixels = some_pixels(n, seed=n)
        scores, labels = loaded(torch.from_numpy(pixels))
        if kind == "head":
            expected, values = expected_scores(head, network, pixels)
            assert labels.tolist() == values.argmax(axis=1).tolist()
        else:
            assert isinstance(classifier, TunedTail) and classifier.module
            with torch.inference_mode():
                codes = network.tail(None)(as_input(pixels, network))
                expected = classifier.module.get_submodule("output")(codes).softmax(1).numpy()
        np.testing.assert_allclose(scores.numpy(), expected, atol=1e-5)
    assert zipfile.is_zipfile(tmp_path / "head.pt")


# What is said


@pytest.mark.usefixtures("bfloat16_processor")
def test_another_precision_is_noted_with_the_difference(network: Backbone, tmp_path: Path) -> None:
    head = a_head(network, precision="bfloat16", views=2)
    result = export(head, tmp_path / "head.pt", model=PLAIN)
    assert result.difference < 1e-5
    precision, views = result.notes
    assert precision.startswith(
        "the file computes in float32, and `bottleneck.predict` in bfloat16"
    )
    assert 1e-5 < float(precision.rpartition(" ")[2]) < 0.5
    assert "plain image alone; the head averages 2 views" in views
    assert "uint8, batch × 32 × 32 × 3 → probabilities" in str(result)


@pytest.mark.usefixtures("float32_processor")
def test_nothing_is_said_of_a_precision_that_predict_computes_in_float32_here(
    network: Backbone, tmp_path: Path
) -> None:
    head = a_head(network, precision="bfloat16")
    assert export(head, tmp_path / "head.pt", model=PLAIN).notes == ()


# What is refused: nothing is written, and what stood there stands


def refused(error: type[Exception], words: str, out: Path, run: Callable[[], object]) -> None:
    before = {path: path.read_bytes() for path in out.parent.iterdir() if path.is_file()}
    with pytest.raises(error, match=words) as caught:
        run()
    assert "\n" not in str(caught.value)
    after = {path: path.read_bytes() for path in out.parent.iterdir() if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    "write", [pytest.param(onnx_file.write_onnx, marks=pytest.mark.slow), write_torchscript]
)
def test_a_full_disk_is_no_fault_of_the_network(
    write: Callable[[ExportedModule, Path], ExportMetadata], head: Head, network: Backbone
) -> None:
    module = ExportedModule(head, network, ExportMetadata.of(head, "uint8"))
    with pytest.raises(OSError, match="No space left on device"):
        write(module, Path("/dev/full"))


@pytest.mark.parametrize("suffix", [pytest.param(".onnx", marks=pytest.mark.slow), ".pt"])
def test_a_file_that_differs_is_not_written(
    suffix: str, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = ExportedModule.forward

    def wrong(self: ExportedModule, images: torch.Tensor) -> Any:
        scores, labels = forward(self, images)
        return scores + 3e-4, labels

    out = tmp_path / f"head{suffix}"
    out.write_bytes(b"what stood there")
    monkeypatch.setattr(ExportedModule, "forward", wrong)
    words = "gives other probabilities than `bottleneck.predict`: up to 0.0003 on 8 images"
    refused(ExportError, words, out, lambda: export(head, out, model=PLAIN, overwrite=True))


def test_wrong_labels_are_noticed(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = ExportedModule.forward

    def wrong(self: ExportedModule, images: torch.Tensor) -> Any:
        scores, _ = forward(self, images)
        return scores, scores.argmin(1)

    monkeypatch.setattr(ExportedModule, "forward", wrong)
    out = tmp_path / "head.pt"
    refused(
        ExportError, "PyTorch calls generated-0.ppm", out, lambda: export(head, out, model=PLAIN)
    )


def test_an_existing_file_another_suffix_or_input(head: Head, tmp_path: Path) -> None:
    out = tmp_path / "head.onnx"
    out.write_bytes(b"kept")
    refused(OutputExistsError, "exists", out, lambda: export(head, out, model=PLAIN))
    words = r"must be a name that ends in one of .onnx \(ONNX\), .pt"
    refused(InvalidOptionError, words, out, lambda: export(head, tmp_path / "head.pkl"))
    words = "`input_type='int8'`: must be one of uint8, float"
    refused(
        InvalidOptionError, words, out, lambda: export(head, tmp_path / "h.pt", input_type="int8")
    )
    words = "1: there are no views"
    refused(InvalidOptionError, words, out, lambda: export(head, tmp_path / "h.pt", views=2))


def test_an_export_is_not_exported_again(exported: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.pt"
    refused(HeadError, "is an exported network", out, lambda: export(exported, out))


def test_images_that_cannot_be_decoded_check_nothing(head: Head, tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.png", tmp_path / "out" / "head.pt"
    bad.write_bytes(b"no image")
    out.parent.mkdir()
    words = "none of the images to check with can be decoded: .*bad.png: cannot be decoded"
    refused(ExportError, words, out, lambda: export(head, out, model=PLAIN, check=bad))


def test_a_network_that_branches_on_its_values(tmp_path: Path) -> None:
    model = f"{NETWORKS}:branching"
    head = a_head(plain_network(model))
    out = tmp_path / "head.onnx"
    words = "cannot be traced as a program: .*: what it computes must depend neither on an image"
    refused(BackboneError, words, out, lambda: export(head, out, model=model))


def test_more_weights_than_a_file_holds(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_MOST_BYTES", 1000)
    out = tmp_path / "head.onnx"
    refused(ExportError, "less than 2 GiB", out, lambda: export(head, out, model=PLAIN))


def test_an_operation_that_the_exporter_does_not_know(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no decomposition\nof aten.unknown")

    monkeypatch.setattr(torch.onnx, "export", fail)
    out = tmp_path / "head.onnx"
    words = "cannot export the network as ONNX: RuntimeError: no decomposition of aten.unknown"
    refused(ExportError, words, out, lambda: export(head, out, model=PLAIN))


@pytest.mark.parametrize(
    ("package", "suffix"), [("onnx", ".onnx"), ("onnxscript", ".onnx"), ("skops", ".skops")]
)
def test_a_missing_package_is_named(
    package: str, suffix: str, head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(package, monkeypatch)
    out = tmp_path / f"head{suffix}"
    extra = "skops" if package == "skops" else "onnx"
    words = rf"{package}.* not installed: `pip install 'bottleneck-features\[{extra}\]'`"
    refused(MissingPackageError, words, out, lambda: export(head, out, **_network(suffix)))


def test_without_onnxruntime(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without("onnxruntime", monkeypatch)
    with pytest.raises(MissingPackageError, match=r"head.onnx needs onnxruntime, which is not"):
        OnnxModel.load(exported)


def _network(suffix: str) -> dict[str, Any]:
    return {} if suffix == ".skops" else {"model": PLAIN}


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return imported(name, *rest, **options)

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", refuse)
