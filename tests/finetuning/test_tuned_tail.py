"""Tuned tails and their file, read by a second reader: safetensors, json and the plain network."""

import json
import pickle
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file
from torch import nn

from bottleneck.backbones.backbone import Backbone, load_backbone
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.errors import DeviceMemoryError, HeadError, SpecMismatchError
from bottleneck.extraction.setup.loading import make_spec
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training.module import TunedModule
from bottleneck.finetuning.tuned_tail import TunedTail
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.loading.features import INPUT, Features
from bottleneck.input_transform import InputTransform
from tests.helpers.brought_networks import build, conv
from tests.helpers.classifier_files import rewrite
from tests.helpers.networks import SMALL
from tests.helpers.tiny_networks import frozen
from tests.helpers.tuning import BOUNDARY, CHAIN

K = 3
OPTIONS = {"head": TuneOptions(), "mlp": TuneOptions(init="mlp", hidden=5)}


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(CHAIN, transform=SMALL)


def a_tail(backbone: Backbone, boundary: str | None = BOUNDARY, **changes: Any) -> TunedTail:
    """A tail whose layers are no longer the pretrained ones."""
    options = changes.pop("options", OPTIONS["head"])
    torch.manual_seed(5)
    module = TunedModule(backbone.tail(boundary), classes=K, hidden=options.units)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    fields: dict[str, Any] = {
        "features": Features((INPUT if boundary is None else boundary,)),
        "classes": ["ants", "bées", "wasps"],
        "multilabel": False,
        "spec": make_spec(backbone, precision="float32", relu=boundary is not None, pool="none"),
        "reference": backbone.reference,
        "training_record": {"lr": 0.1},
    }
    return TunedTail.of_module(module, options, **fields | changes)


def some_maps(shape: tuple[int, ...], n: int = 5) -> NDArray[np.float32]:
    size = int(np.prod(shape))
    return np.random.default_rng(0).uniform(0, 2, (n, size)).astype(np.float32)


def by_plain_torch(path: Path, maps: NDArray[np.float32], first: int) -> NDArray[np.float64]:
    """The logits of a file's tensors in the layers `first` to 7 of the network they name."""
    tensors = {name: torch.from_numpy(value) for name, value in load_file(path).items()}
    network = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU()),
        *(nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ).eval()
    state = network.state_dict()
    mine = {k.removeprefix("tail."): v for k, v in tensors.items() if k.startswith("tail.")}
    assert set(mine) == {name for name in state if int(name.split(".")[0]) >= first}
    network.load_state_dict(state | mine)
    shape = (3, 32, 32) if first == 0 else (6, 16, 16)
    codes = network[first:](torch.from_numpy(maps).reshape(-1, *shape)).relu()
    if "output.2.weight" in tensors:
        codes = (codes @ tensors["output.0.weight"].T + tensors["output.0.bias"]).relu()
    last = "output.2" if "output.2.weight" in tensors else "output"
    logits = codes @ tensors[f"{last}.weight"].T + tensors[f"{last}.bias"]
    return np.asarray(logits.detach().double().numpy())


@pytest.mark.parametrize("boundary", [BOUNDARY, None])
@pytest.mark.parametrize("init", OPTIONS)
def test_a_file_holds_the_layers_by_their_names_in_the_network(
    backbone: Backbone, boundary: str | None, init: str, tmp_path: Path
) -> None:
    tail = a_tail(backbone, boundary, options=OPTIONS[init])
    tail.save(tmp_path / "t")
    maps = some_maps(tail.shape)
    expected = by_plain_torch(tmp_path / "t", maps, 0 if boundary is None else 3)
    again = TunedTail.load(tmp_path / "t").with_network(lambda: backbone, "cpu")
    assert repr(again) == f"<TunedTail: behind {tail.features}, {len(tail.classes)} classes>"
    for each in (tail, again):
        np.testing.assert_allclose(each.decision_function(maps), expected, rtol=1e-4, atol=1e-5)
    for name in ("features", "classes", "multilabel", "spec", "reference", "recipe", "shape"):
        assert getattr(again, name) == getattr(tail, name)
    assert (again.hidden, again.training_record) == (tail.hidden, {"lr": 0.1})
    assert {n: t.tolist() for n, t in again.tensors.items()} == {
        n: t.tolist() for n, t in tail.tensors.items()
    }
    with safe_open(tmp_path / "t", framework="numpy") as file:
        values = json.loads(file.metadata()["bottleneck"])
    assert (values["format"], values["format_version"]) == ("bottleneck-tail", 1)
    assert (values["boundary"], values["shape"]) == (boundary, list(tail.shape))
    assert values["hidden"] == (5 if init == "mlp" else 0)
    assert values["recipe"] == asdict(OPTIONS[init])
    assert values["spec"]["weights_digest"] == backbone.weights_digest


def test_the_page_names_every_part_of_a_file_and_no_other(
    backbone: Backbone, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text("utf-8")
    section = page.split("## The tuned tail\n")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    outputs = set()
    for init, options in OPTIONS.items():
        a_tail(backbone, options=options).save(tmp_path / init)
        outputs |= {n for n in load_file(tmp_path / init) if not n.startswith("tail.")}
    with safe_open(tmp_path / "head", framework="numpy") as file:
        keys = list(json.loads(file.metadata()["bottleneck"]))
    assert named == ["tail.<name>", "output.weight", "output.bias", *named[3:7], *keys]
    assert set(named[1:7]) == outputs


def test_views_are_averaged(backbone: Backbone) -> None:
    tail = a_tail(backbone, features=Features((BOUNDARY,), 2, ViewRecipe()))
    maps = some_maps(tail.shape, 6)
    plain = tail.with_views(1).decision_function(maps)
    np.testing.assert_allclose(
        tail.decision_function(maps), (plain[::2] + plain[1::2]) / 2, rtol=1e-6
    )


def test_answers_are_in_float32_itself(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    tail, seen = a_tail(backbone), list[bool]()
    assert tail.module is not None
    with tail.module.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32)):
        tail.decision_function(some_maps(tail.shape, 2))
    assert seen == [False]


def test_more_rows_than_a_batch_are_answered_in_order(backbone: Backbone) -> None:
    tail = a_tail(backbone)
    maps = some_maps(tail.shape, 150)
    alone = np.concatenate([tail.decision_function(maps[i : i + 1]) for i in (0, 70, 149)])
    np.testing.assert_allclose(tail.decision_function(maps)[[0, 70, 149]], alone, rtol=1e-4)
    assert tail.decision_function(maps[:0]).shape == (0, K)


def test_scores_are_the_softmax_of_logits_or_with_several_labels_each_ones_own(
    backbone: Backbone,
) -> None:
    values = np.array([[1.0, 2.0, 0.5]])
    one, several = a_tail(backbone), a_tail(backbone, multilabel=True)
    np.testing.assert_allclose(one.predict_scores(values).sum(), 1)
    np.testing.assert_allclose(several.predict_scores(values), 1 / (1 + np.exp(-values)))
    assert several.predict_labels(values - 0.7) == ["ants|bées"]


def test_maps_of_another_size_or_a_missing_network_are_refused(
    backbone: Backbone, tmp_path: Path
) -> None:
    tail = a_tail(backbone)
    with pytest.raises(HeadError, match=r"reads maps of size 1536, got shape \(1, 7\)"):
        tail.decision_function(np.zeros((1, 7)))
    tail.save(tmp_path / "t")
    with pytest.raises(HeadError, match="has no network yet"):
        TunedTail.load(tmp_path / "t").decision_function(some_maps(tail.shape))


def test_codes_of_another_spec_are_refused(backbone: Backbone) -> None:
    tail = a_tail(backbone)
    other = replace(tail.spec, transform=InputTransform(resize=40, crop=32))
    with pytest.raises(SpecMismatchError, match=r"resize is 32 in the tuned tail and 40 in here"):
        tail.require(other, where="here")
    tail.require(tail.spec, where="here")
    network = a_tail(backbone, None)
    with pytest.raises(HeadError, match="reads images, not codes as in here"):
        network.require(network.spec, where="here")


def test_layers_keep_their_types(tmp_path: Path) -> None:
    def wiring(network: Any, images: Any) -> Any:
        maps = network.stem(images).masked_fill(network.mask[:, None, None], 0)
        codes = network.white((maps.mean((2, 3)) * network.scale).double())
        return network.fc(network.relu(codes.float()))

    white = nn.Linear(6, 5).double()
    network = build(wiring, stem=conv(), white=white, relu=nn.ReLU(), fc=nn.Linear(5, 4))
    network.register_buffer("mask", torch.arange(6) == 2)
    network.register_buffer("scale", torch.full((6,), 0.5, dtype=torch.float64))
    backbone = load_backbone(network, transform=SMALL)
    tail = a_tail(backbone, "stem")
    tail.save(tmp_path / "t")
    again = TunedTail.load(tmp_path / "t").with_network(lambda: backbone, "cpu")
    maps, state = some_maps(tail.shape), load_file(tmp_path / "t")
    codes = 0.5 * maps.reshape(5, 6, -1).mean(2) * (np.arange(6) != 2)
    codes = np.maximum(codes @ state["tail.white.weight"].T + state["tail.white.bias"], 0)
    expected = codes @ state["output.weight"].T + state["output.bias"]
    np.testing.assert_allclose(again.decision_function(maps), expected, rtol=1e-4, atol=1e-6)
    other = rewrite(tmp_path / "t", {"tail.scale": np.ones(6, np.float32)})
    with pytest.raises(HeadError, match=r"tail\.scale is float32 .* there float64 of shape"):
        TunedTail.load(other).with_network(lambda: backbone, "cpu")


@pytest.mark.parametrize("most", [1, 3, 100])
def test_batches_that_do_not_fit_into_memory_are_divided(backbone: Backbone, most: int) -> None:
    tail = a_tail(backbone)
    maps = some_maps(tail.shape, 150)
    expected, sizes = tail.decision_function(maps), []

    def limited(_: Any, args: tuple[torch.Tensor]) -> None:
        sizes.append(len(args[0]))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")

    assert tail.module is not None
    with tail.module.register_forward_pre_hook(limited):
        np.testing.assert_allclose(tail.decision_function(maps), expected, rtol=1e-5, atol=1e-6)
    assert sum(size for size in sizes if size <= most) == 150


def test_one_image_that_does_not_fit_is_an_error_with_the_next_step(backbone: Backbone) -> None:
    tail = a_tail(backbone)
    assert tail.module is not None

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with (
        tail.module.register_forward_pre_hook(full),
        pytest.raises(DeviceMemoryError, match="one image does not fit into memory"),
    ):
        tail.decision_function(some_maps(tail.shape))


def test_another_network_is_refused(backbone: Backbone, tmp_path: Path) -> None:
    a_tail(backbone).save(tmp_path / "t")
    wider = frozen(
        nn.Sequential(
            *(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 9, 3, 2, 1)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(9, 4)),
        )
    )
    with pytest.raises(HeadError, match=r"behind 2: \S+ is float32 of shape .* there float32"):
        TunedTail.load(tmp_path / "t").with_network(
            lambda: load_backbone(wider, transform=SMALL), "cpu"
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "'bottleneck-tail' version 2; this program reads"),
        ({"format": "bottleneck-head"}, "format 'bottleneck-head' version 1"),
        ({"boundary": 7}, "names of the layers"),
        ({"shape": [6, 0, 16]}, "must be whole"),
        ({"shape": "wide"}, "must be whole"),
        ({"shape": []}, "must be whole"),
        ({"hidden": -1}, "must be whole"),
        ({"hidden": "5"}, "must be whole"),
        ({"classes": ["a", "b"]}, "there are 2 classes"),
        ({"hidden": 4}, r"output.2.weight has shape \(0,\)"),
        ({"spec": None}, "KeyError: 'spec'"),
        ({"multilabel": "no"}, "multilabel is 'no'"),
        ({"views": 3}, "a recipe is needed"),
        ({"tensors": {"tail.3.weight": np.full((8, 6, 3, 3), np.nan, np.float32)}}, "not numbers"),
        ({"tensors": {"output.bias": np.full(3, np.inf, np.float32)}}, "not finite"),
        ({"tensors": {"output.weight": np.zeros((3, 8))}}, "is float64, must be float32"),
        ({"tensors": {"output.bias": None}}, r"output.bias has shape \(0,\)"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    backbone: Backbone, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    a_tail(backbone).save(tmp_path / "t")
    with pytest.raises(HeadError, match=message):
        TunedTail.load(rewrite(tmp_path / "t", **changes))


def test_a_changed_byte_is_found(backbone: Backbone, tmp_path: Path) -> None:
    a_tail(backbone).save(tmp_path / "t")
    content = (tmp_path / "t").read_bytes()
    for at in range(len(content) // 2, len(content), 101):  # of the tensors
        changed = bytes([content[at] ^ 1])
        (tmp_path / "t").write_bytes(content[:at] + changed + content[at + 1 :])
        with pytest.raises(HeadError, match="its bytes are not those that were written"):
            TunedTail.load(tmp_path / "t")


def test_unknown_tensors_of_the_same_version_are_ignored(
    backbone: Backbone, tmp_path: Path
) -> None:
    a_tail(backbone).save(tmp_path / "t")
    later = rewrite(tmp_path / "t", tensors={"other": np.zeros(1)}, later=1)
    assert "other" not in TunedTail.load(later).tensors


def test_other_files_are_refused(head: Head, tmp_path: Path) -> None:
    with pytest.raises(HeadError, match=r"no head at .*`bottleneck\.tune`"):
        TunedTail.load(tmp_path / "absent")
    (tmp_path / "pickle").write_bytes(pickle.dumps({"format": "bottleneck-tail"}))
    with pytest.raises(HeadError, match="pickles and other files are refused"):
        TunedTail.load(tmp_path / "pickle")
    head.save(tmp_path / "head")
    with pytest.raises(HeadError, match=re.escape("reads 'bottleneck-tail' 1")):
        TunedTail.load(tmp_path / "head")
