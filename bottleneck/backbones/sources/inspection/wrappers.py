"""Wrappers around a network, of training and of compilation: they are taken off."""

from typing import Any

from torch import nn
from torch.jit import ScriptModule
from torch.nn.parallel import DataParallel, DistributedDataParallel

from bottleneck.backbones.sources.inspection.torchscript import ScriptedPart

# Parts that wrappers put before or into a network's own names: DataParallel and its relatives,
# torch.compile, FSDP, checkpointed activations, Lightning Fabric.
_WRAPPERS = frozenset(
    {
        *("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
        "_forward_module",
    }
)


def unwrap(network: nn.Module) -> nn.Module:
    """Return the network inside of DataParallel, DistributedDataParallel and torch.compile.

    Examples
    --------
    >>> network = nn.Sequential(nn.ReLU())
    >>> unwrap(nn.DataParallel(network)) is network
    True
    """
    while (inner := _inner(network)) is not None:
        network = inner
    return network


def unwrap_parts(network: nn.Module) -> None:
    """Let the parts of a network run as plain modules on one device, in place.

    A compiled part would be compiled anew for each copy of the network, and skip hooks. A part
    in DataParallel would look for its parameters on every GPU. A part in TorchScript takes no
    hooks.

    Examples
    --------
    >>> network = nn.Sequential(nn.DataParallel(nn.ReLU()))
    >>> unwrap_parts(network)
    >>> network[0].device_ids
    []
    """
    for module in [each for each in network.modules() if not isinstance(each, ScriptModule)]:
        if getattr(module, "_compiled_call_impl", None) is not None:  # by Module.compile
            module._compiled_call_impl = None
        if isinstance(module, DataParallel):
            module.device_ids = []
        for name, part in module._modules.items():
            if isinstance(part, ScriptModule):
                module._modules[name] = ScriptedPart(part)
            elif part is not None and _is_compiled(part):
                module._modules[name] = unwrap(part)


def without_wrappers(name: str) -> str:
    """Return a name of a layer, module or tensor without the parts that wrappers put into it.

    Examples
    --------
    >>> without_wrappers("_orig_mod.layer1.0"), without_wrappers("features.module.0.weight")
    ('layer1.0', 'features.0.weight')
    """
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _inner(network: nn.Module) -> nn.Module | None:
    if isinstance(network, (DataParallel, DistributedDataParallel)):
        inner: Any = network.module
        return inner if isinstance(inner, nn.Module) else None
    return network._modules["_orig_mod"] if _is_compiled(network) else None


def _is_compiled(module: nn.Module) -> bool:
    # By its name: importing torch._dynamo takes more than a second.
    return type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules
