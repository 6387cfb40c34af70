import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import bottleneck.runtime.imports.torchvision_import as module

NAME = "torch._dynamo.utils"

IN_A_NEW_PROCESS = """
import sys
import torch
from bottleneck.backbones import load_backbone
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.probe import probe
from bottleneck.backbones.tracing.traced import trace
from bottleneck.data.resizing.torch_resampling import resize_by_torchvision
from bottleneck.data.resizing.views import ViewSet, decode_views
from bottleneck.runtime import native_precision, torchvision
from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.input_transform import InputTransform

cpu = torch.device("cpu")
fastest = getattr(torch, native_precision("bfloat16", cpu))
backbone = load_backbone("resnet18", weights="none", transform={"resize": 64, "crop": 64})
assert backbone.layers[-1].cost == 1.0
truncated = TruncatedNetwork(backbone.network, backbone.layers[-1:])
assert trace(truncated, probe(truncated, 64), dtype=fastest, device=cpu)
load_backbone("timm:resnet18", weights="none")
assert torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1]]), torch.ones(1), 0.5).tolist() == [0]
file, views = b"P6 9 9 255\\n" + bytes(9 * 9 * 3), ViewSet([1], ViewRecipe(("color",)))
list(decode_views(file, InputTransform(crop=8), views, image_sha256="ab"))
assert not resize_by_torchvision(torch.zeros(1, 3, 9, 9, dtype=torch.uint8), 4, 4, "nearest").any()
assert not [name for name in sys.modules if name.startswith(("torch._dynamo", "sympy", "triton"))]
"""


def test_networks_are_loaded_listed_and_traced_without_the_compiler_and_triton() -> None:
    code = [sys.executable, "-c", IN_A_NEW_PROCESS]
    subprocess.run(code, check=True, cwd=Path(__file__).parents[2])


def test_the_compiler_is_imported_once_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = ModuleType(NAME)
    compiler.is_compile_supported = lambda device: device == "cuda"  # type: ignore[attr-defined]
    compiler.counters = {}  # type: ignore[attr-defined]  # whatever else a torchvision may ask for
    monkeypatch.setattr(module, "import_module", {NAME: compiler}.__getitem__)
    deferred = module._DeferredCompiler(NAME)
    monkeypatch.setitem(sys.modules, NAME, deferred)
    assert not hasattr(deferred, "__file__")
    assert sys.modules[NAME] is deferred
    assert [deferred.is_compile_supported(device) for device in ("cuda", "cpu")] == [True, False]
    assert NAME not in sys.modules  # so that an import finds the module itself
    assert deferred.counters == {}
