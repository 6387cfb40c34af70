"""An `nn.Module` of the caller as a source of networks."""

import copy
import dataclasses
from dataclasses import dataclass

from torch import nn

from bottleneck.backbones.sources.architecture import architecture_digest
from bottleneck.backbones.sources.lazy_shapes import shape_by_weights
from bottleneck.backbones.sources.torchscript import ScriptedNetwork, open_torchscript
from bottleneck.backbones.sources.weights import load_own_weights
from bottleneck.backbones.sources.wrappers import unwrap
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.errors import UnknownNameError
from bottleneck.spec import InputTransform, validate_transform_fields

PREFIX = "module:"  # of a reference; it cannot be loaded from there


@dataclass(frozen=True)
class GivenModule:
    """A network that the caller built.

    It is copied: the caller's own object is never changed. The copy is in float32 on the CPU, and
    without wrappers: a compiled network, or one in DataParallel, is the network inside.

    Attributes
    ----------
    network : nn.Module
        With its weights. Like a network from a file, it may say what input it expects in a
        dictionary attribute `preprocess`.

    Examples
    --------
    >>> from torch import nn
    >>> source = GivenModule(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    >>> network, identity, transform = source.build("DEFAULT")
    >>> source.reference, identity.partition("@")[0], transform.crop
    ('module:Sequential', 'module:Sequential', 224)
    >>> network is source.network
    False
    """

    network: nn.Module

    @property
    def reference(self) -> str:
        """The class's name: ``module:ClassName``. A network cannot be loaded from it."""
        network = unwrap(self.network)
        return f"{PREFIX}{getattr(network, 'original_name', type(network).__name__)}"

    def build(self, weights: str) -> tuple[nn.Module, str, InputTransform]:
        """Copy the network, and load a weights file into the copy; see `ModelSource`.

        Parameters
        ----------
        weights : str
            A weights file; or ``"DEFAULT"`` or ``"none"``, which both mean the network's own.

        Raises
        ------
        BackboneError
            The network cannot be copied, or is TorchScript that calls no modules.
        UnknownNameError
            `weights` is something else.
        WeightsError
            The weights cannot be read, or do not fit the network.
        """
        name = self.reference.removeprefix(PREFIX)
        opened = open_torchscript(unwrap(self.network))
        with errors_in_one_line(
            f"{name} cannot be copied",
            hint="give `model=path/to/file.py:factory`, a function that builds it",
        ):
            network = copy.deepcopy(opened).cpu().float()
            if isinstance(network, ScriptedNetwork):
                digest = network.code_digest()
            else:
                digest = architecture_digest(network)
        shape_by_weights(network, weights)
        load_own_weights(network, weights, model=name)
        return (
            network,
            f"{self.reference}@{digest[:16]}",
            transform_of_wrapped(self.network, where=name),
        )

    def build_skeleton(self, weights: str) -> tuple[nn.Module, InputTransform]:
        """Copy the network; see `ModelSource`."""
        network, _, transform = self.build("none")
        return network, transform


def transform_of_wrapped(network: nn.Module, *, where: str) -> InputTransform:
    """Return the input transform that a network declares, or the network in its wrappers.

    Parameters
    ----------
    network : nn.Module
    where : str
        Name of the network or its file, for messages.

    Raises
    ------
    UnknownNameError, InvalidOptionError
        As `declared_transform` does.
    """
    by_wrapper = isinstance(getattr(network, "preprocess", None), dict)
    return declared_transform(network if by_wrapper else unwrap(network), where=where)


def declared_transform(network: nn.Module, *, where: str) -> InputTransform:
    """Return the input transform that a network declares, or ImageNet's usual one.

    Parameters
    ----------
    network : nn.Module
        Declares it in a dictionary attribute `preprocess` of fields of `InputTransform`.
    where : str
        Name of the network or its file, for messages.

    Raises
    ------
    UnknownNameError
        The dictionary has a key that is no field of `InputTransform`.
    InvalidOptionError
        A value is not allowed.
    """
    fields = getattr(network, "preprocess", None)
    if not isinstance(fields, dict):
        return InputTransform()  # no such attribute, or a method of that name
    known = [field.name for field in dataclasses.fields(InputTransform)]
    for name in fields:
        if name not in known:
            raise UnknownNameError(f"field of the network's preprocess in {where}", name, known)
    return InputTransform(**validate_transform_fields(**fields))
