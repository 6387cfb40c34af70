"""An `nn.Module` of the caller as a source of networks."""

import copy
import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from bottleneck.backbones.sources.architecture import architecture_digest
from bottleneck.backbones.sources.timm_config import find_timm_config, transform_of_config
from bottleneck.backbones.sources.torchscript import ScriptedNetwork, open_torchscript
from bottleneck.backbones.sources.weights import require_own_weights
from bottleneck.backbones.sources.wrappers import unwrap
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.errors import UnknownNameError
from bottleneck.spec import InputTransform, validate_transform_fields

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
            The network cannot be copied, or is TorchScript that calls no modules.
        UnknownNameError
            `weights` is something else.
        """
        name = self.reference.removeprefix(PREFIX)
        require_own_weights(weights, model=name)
        opened = open_torchscript(unwrap(self.network))
        with errors_in_one_line(
            f"{name} cannot be copied",
            hint="give `model=path/to/file.py:factory`, a function that builds it",
        ):
            network = copy.deepcopy(opened).cpu()
            if isinstance(network, ScriptedNetwork):
                digest = network.code_digest()
            else:
                digest = architecture_digest(network)
        return (
            network,
            f"{self.reference}@{digest[:16]}",
            transform_of_wrapped(self.network, where=name),
        )

    def published_files(self, weights: str) -> None:
        """Return that they are not known: code may read any; see `ModelSource`."""

    def build_skeleton(self, weights: str) -> tuple[nn.Module, InputTransform]:
        """Copy the network; see `ModelSource`."""
        network, _, transform = self.build(weights)
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
        Declares it in a dictionary attribute `preprocess` of fields of `InputTransform`; or is one
        of timm's, which have a `pretrained_cfg`.
    where : str
        Name of the network or its file, for messages.

    Raises
    ------
    UnknownNameError
        The dictionary has a key that is no field of `InputTransform`.
    InvalidOptionError
        A value is not allowed.
    BackboneError
        The `pretrained_cfg` asks for an input that cannot be made.
    """
    fields = getattr(network, "preprocess", None)
    if not isinstance(fields, dict):  # no such attribute, or a method of that name
        config = find_timm_config(network)
        return transform_of_config(config, where=where) if config else InputTransform()
    known = [field.name for field in dataclasses.fields(InputTransform)]
    for name in fields:
        if name not in known:
            raise UnknownNameError(f"field of the network's preprocess in {where}", name, known)
    return InputTransform(**validate_transform_fields(**fields))


def describe_input(
    network: nn.Module, transform: InputTransform, given: Collection[str] = ()
) -> str:
    """Return a sentence on the input that a network declares; empty if it declares none.

    Parameters
    ----------
    network : nn.Module
    transform : InputTransform
        The network's input, as it is used.
    given : collection of str
        Fields of `transform` that the user chose.

    Examples
    --------
    >>> network = nn.Conv2d(3, 8, 3)
    >>> network.preprocess = {"crop": 64, "resize": 72}
    >>> transform = InputTransform(resize=72, crop=96)
    >>> describe_input(network, transform, ["crop"]).partition(", mean")[0]
    "input by the network's preprocess, with crop as given: shorter side 72, crop 96, bilinear"
    """
    config = find_timm_config(network)
    if isinstance(getattr(network, "preprocess", None), dict):
        origin = "the network's preprocess" + (", not its pretrained_cfg" if config else "")
    elif config:
        origin = "timm's pretrained_cfg of the network"
    else:
        return ""
    changed = f", with {', '.join(given)} as given" if given else ""
    mean, std = (",".join(f"{v:g}" for v in values) for values in (transform.mean, transform.std))
    return (
        f"input by {origin}{changed}: shorter side {transform.resize}, crop {transform.crop}, "
        f"{transform.interpolation}, mean {mean}, std {std}"
    )
