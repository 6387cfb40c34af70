"""ONNX files that are read, and those that are not; graphs made by onnx alone."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from bottleneck.errors import ExportError, HeadError, InvalidOptionError
from bottleneck.extraction import ComputeOptions
from bottleneck.prediction.evaluate import evaluate
from bottleneck.prediction.exported.onnx_model import OnnxModel, _providers
from bottleneck.prediction.inputs import open_predictor
from bottleneck.prediction.predict import predict
from tests.helpers.exports import METADATA
from tests.helpers.photographs import write_photographs

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def write_graph(path: Path, text: str = METADATA.to_text(), **more: str) -> Path:
    """A graph whose scores are the sums of red, green and blue."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "axes"], ["scores"], keepdims=0),
        helper.make_node("ArgMax", ["scores"], ["labels"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 16, 16, 3])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("labels", TensorProto.INT64, ["batch"]),
        ],
        [helper.make_tensor("axes", TensorProto.INT64, [2], [1, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if text:
        helper.set_model_props(model, {"bottleneck": text} | more)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graph(tmp_path_factory.mktemp("onnx") / "colours.onnx")


def test_a_graph_is_run_and_its_metadata_are_read(colours: Path) -> None:
    model = OnnxModel.load(colours)
    assert model.metadata == METADATA
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    scores, labels = model.run(images)
    np.testing.assert_array_equal(scores, images.sum((1, 2), dtype=np.float32))
    assert labels.tolist() == scores.argmax(axis=1).tolist()


def test_a_changed_weight_is_found_where_the_file_has_a_digest(tmp_path: Path) -> None:
    zeros = {"bottleneck.sha256": "0" * 64}
    path = write_graph(tmp_path / "colours.onnx", **zeros)
    content = path.read_bytes()
    whole = content.replace(b"0" * 64, hashlib.sha256(content).hexdigest().encode())
    path.write_bytes(whole)
    assert OnnxModel.load(path).metadata == METADATA
    path.write_bytes(whole.replace(b"ReduceSum", b"ReduceMax"))  # a graph that runs as well
    with pytest.raises(ExportError, match=r"colours\.onnx is damaged: its bytes are not those"):
        OnnxModel.load(path)


def test_onnxruntime_reports_nothing_and_leaves_nothing_in_the_home_directory(
    colours: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, pathlib; from bottleneck.prediction.exported.onnx_model import OnnxModel; "
        "OnnxModel.load(pathlib.Path(sys.argv[1]))"
    )
    dropped = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    done = subprocess.run(
        [sys.executable, "-c", code, str(colours)],
        env=environment | {"HOME": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == b""
    assert list(tmp_path.iterdir()) == []


def test_predict_takes_a_path_or_the_open_file(colours: Path, tmp_path: Path) -> None:
    (path,) = write_photographs(tmp_path, 1, label="wasps")
    (by_path,) = predict(str(colours), path)
    opened = open_predictor(colours)
    (by_model,) = predict(opened, path)
    assert open_predictor(opened) is opened
    assert by_path == by_model
    assert by_path.label == "wasp"


@pytest.mark.parametrize("option", ["model", "weights"])
def test_the_network_is_in_the_file(colours: Path, option: str, tmp_path: Path) -> None:
    (path,) = write_photographs(tmp_path, 1, label="wasps")
    options: dict[str, Any] = {option: "resnet18"}
    with pytest.raises(InvalidOptionError, match=f"`{option}='resnet18'`: must be left out"):
        predict(colours, path, **options)
    with pytest.raises(InvalidOptionError, match="left out: onnxruntime runs it"):
        predict(colours, path, compute=ComputeOptions(runtime="torch"))


def test_a_file_cannot_be_evaluated(colours: Path, tmp_path: Path) -> None:
    write_photographs(tmp_path, 1, label="wasps")
    with pytest.raises(HeadError, match="is an exported network, which"):
        evaluate(colours, str(tmp_path))


def test_files_that_are_no_export_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes.onnx").write_bytes(b"no protocol buffer")
    cases = {
        "absent.onnx": "no exported network at",
        "bytes.onnx": "cannot be read as ONNX",
        "other.onnx": "is no export of this program",
    }
    write_graph(tmp_path / "other.onnx", text="")
    for name, words in cases.items():
        with pytest.raises(ExportError, match=words) as caught:
            OnnxModel.load(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_images_of_another_size_fail_in_one_line(colours: Path) -> None:
    with pytest.raises(ExportError, match="the exported network failed: ") as caught:
        OnnxModel.load(colours).run(np.zeros((1, 15, 16, 3), dtype=np.uint8))
    assert "\n" not in str(caught.value)


def test_scores_of_other_classes_are_refused(tmp_path: Path) -> None:
    two = dataclasses.replace(METADATA, labels=["ant", "bee"])
    model = OnnxModel.load(write_graph(tmp_path / "x.onnx", two.to_text()))
    with pytest.raises(ExportError, match=r"scores of shape \(1, 3\) .* 1 images of 2 classes"):
        model.run(np.zeros((1, 16, 16, 3), dtype=np.uint8))


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_of_other_classes_are_refused(label: int) -> None:
    session = SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name="images")],
        run=lambda outputs, inputs: (np.zeros((2, 3), np.float32), np.array([0, label])),
    )
    with pytest.raises(ExportError, match=f"gave the labels {min(0, label)} to .* of 3 classes"):
        OnnxModel(session, METADATA).run(np.zeros((2, 16, 16, 3), dtype=np.uint8))


def test_a_gpu_is_used_where_onnxruntime_has_one() -> None:
    assert _providers("auto", [CPU]) == _providers("cpu", [CUDA, CPU]) == [CPU]
    assert _providers("auto", [CUDA, CPU]) == [(CUDA, {"device_id": 0}), CPU]
    assert _providers("cuda:1", [CUDA, CPU]) == [(CUDA, {"device_id": 1}), CPU]
    with pytest.raises(InvalidOptionError, match="auto or cpu: onnxruntime is installed without"):
        _providers("cuda", [CPU])
    with pytest.raises(InvalidOptionError, match="auto, cpu, cuda or cuda:N"):
        _providers("cuda:x", [CUDA, CPU])
    with pytest.raises(InvalidOptionError):
        _providers("tpu", [CUDA, CPU])


def test_threads_are_the_cores_that_there_are(
    colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    session = onnxruntime.InferenceSession

    def watch(path: str, options: Any, **rest: Any) -> Any:
        kept.append(options.intra_op_num_threads)
        return session(path, options, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", watch)
    monkeypatch.setattr("bottleneck.prediction.exported.onnx_model.available_cpus", lambda: 3)
    OnnxModel.load(colours)
    assert kept == [3]
