"""An `nn.Module` of the caller as a source of networks."""

import copy
from dataclasses import dataclass

from torch import nn

from bottleneck.backbones.sources.inspection.architecture import architecture_digest
from bottleneck.backbones.sources.inspection.declared_input import declared_transform
from bottleneck.backbones.sources.inspection.torchscript import ScriptedNetwork, open_torchscript
from bottleneck.backbones.sources.inspection.weight_values import require_values
from bottleneck.backbones.sources.inspection.wrappers import unwrap
from bottleneck.backbones.sources.weights import require_own_weights
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.input_transform import InputTransform

PREFIX = "module:"  # of a reference; it cannot be loaded from there


@dataclass(frozen=True)
class GivenModule:
    """A network that the caller built.

    It is copied: the caller's own object is never changed. The copy is on the CPU, and without
    wrappers: a compiled network, or one in DataParallel, is the network inside.

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
        """Copy the network; see `ModelSource`.

        Parameters
        ----------
        weights : str
            A weights file; or ``"DEFAULT"`` or ``"none"``, which both mean the network's own.

        Raises
        ------
        BackboneError
            The network has no values, cannot be copied, or is TorchScript that calls no modules.
        UnknownNameError
            `weights` is something else.
        """
        name = self.reference.removeprefix(PREFIX)
        require_own_weights(weights, model=name)
        opened = open_torchscript(unwrap(self.network))
        require_values(opened)
        with errors_in_one_line(
            f"{name} cannot be copied",
            hint="give `model=path/to/file.py:factory`, a function that builds it",
        ):
            network = copy.deepcopy(opened)
            network.cpu()
            if isinstance(network, ScriptedNetwork):
                digest = network.code_digest()
            else:
                digest = architecture_digest(network)
        return (
            network,
            f"{self.reference}@{digest[:16]}",
            declared_transform(self.network, where=name),
        )

    def published_files(self, weights: str) -> None:
        """Return that they are not known: code may read any; see `ModelSource`."""

    def build_skeleton(self, weights: str) -> tuple[nn.Module, InputTransform]:
        """Copy the network; see `ModelSource`."""
        network, _, transform = self.build(weights)
        return network, transform
