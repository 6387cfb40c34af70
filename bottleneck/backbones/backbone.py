"""Backbones: load a frozen network and record exactly which one it is."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

from torch import nn

from bottleneck.backbones.checkpoints.loading import LoadedWeights, load_weights
from bottleneck.backbones.cutting.cuts import list_cuts
from bottleneck.backbones.cutting.tail import Tail, make_tail
from bottleneck.backbones.layers.forward_order import ForwardOrder, observe_order
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.layers.listing import list_layers, select_layers
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.preparation import materialise, network_notes, prepare_network
from bottleneck.backbones.probing.probe import probe
from bottleneck.backbones.pytorch_defaults import pytorch_defaults
from bottleneck.backbones.recall import NetworkIdentity, file_states, remember_network
from bottleneck.backbones.sources.inspection.declared_input import describe_input
from bottleneck.backbones.sources.inspection.weight_values import digest_weights, require_values
from bottleneck.backbones.sources.model_source import find_source
from bottleneck.backbones.sources.weights import require_weights_file, weights_name
from bottleneck.backbones.tracing.traced import trace_float32
from bottleneck.backbones.user_code import errors_in_one_line
from bottleneck.errors import BackboneError
from bottleneck.input_transform import InputTransform, validate_transform_fields
from bottleneck.model_reference import ModelReference
from bottleneck.pooling import split_pooled_name


@dataclass(frozen=True)
class Backbone:
    """A frozen network and what identifies it.

    Attributes
    ----------
    network : nn.Module
        In eval mode, without gradients, float32, on the CPU.
    model : str
        Identity of the architecture, for the spec.
    weights_digest : str
        SHA-256 over names, types, shapes and bytes of the state dict as loaded; without the tensors
        that a weights file did not fill.
    transform : InputTransform
        What the weights expect.
    reference : ModelReference
        How to load it again.
    input_note : str
        The input that the network declares, and how, as a sentence; empty if it declares none.
    loaded : LoadedWeights or None
        What was loaded of a weights file; None where there is none.

    Examples
    --------
    >>> from torch import nn
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> backbone = load_backbone(network, transform={"crop": 32, "resize": 32})
    >>> [layer.name for layer in backbone.layers]
    ['0', '1', '2']
    >>> backbone.largest_code(["0", "2"], pool="avg")
    8
    """

    network: nn.Module
    model: str
    weights_digest: str
    transform: InputTransform
    reference: ModelReference
    input_note: str = ""
    loaded: LoadedWeights | None = None

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer, in the order of computation.

        Computed on first use, because it takes a forward pass. See
        `bottleneck.backbones.layers.listing.list_layers`.
        """
        return tuple(list_layers(self.network, self.transform.crop))

    def select_layers(self, names: Sequence[str]) -> list[Layer]:
        """Return the layers of the given names, in the order of computation, each once.

        A name may end in a pooling of the layer's own (``layer3@2x2``). A layer may also be named
        as in the network's wrapper (``module.layer1``, ``_orig_mod.layer1``), and the first of a
        module's several outputs with its key.

        Raises
        ------
        UnknownNameError
            There is no such layer; the nearest names are suggested.
        InvalidOptionError
            There is no such pooling, or a layer does not support the pooling of its own.
        WeightsError
            A layer depends on a tensor that the weights file has not, or has in another shape.
        """
        found = select_layers(self.layers, names)
        if self.loaded and self.loaded.misfits:
            self.loaded.require_layers(found, self.layers, self._forward_order)
        return found

    @cached_property
    def cuts(self) -> tuple[str, ...]:
        """The layers at which the network parts in two, in the order of computation.

        All behind such a layer is computed from its output alone. Computed on first use. Empty if
        the network cannot be cut; `tail` says why.
        """
        try:
            return list_cuts(self.network, self.layers, self.transform.crop).layers
        except BackboneError:
            return ()

    def tail(self, boundary: str | None) -> Tail:
        """Return the part of the network behind a layer, up to its penultimate one, for training.

        Parameters
        ----------
        boundary : str or None
            A cut, whatever its own pooling; None for the whole network, which takes normalised
            images.

        Returns
        -------
        Tail
            With copies of the parameters.

        Raises
        ------
        UnknownNameError
            There is no such layer; the nearest names are suggested.
        InvalidOptionError
            The layer is no cut; the nearest cuts before and behind it are named.
        WeightsError
            The tail depends on a tensor that the weights file has not.
        BackboneError
            The network cannot be cut; the message says why.

        Examples
        --------
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
        >>> tail = load_backbone(network, transform={"crop": 8, "resize": 8}).tail("1")
        >>> tail.in_shape, tail.output, tail.features
        ((8, 6, 6), '2', 288)
        """
        chosen = None
        if boundary is not None:
            (chosen,) = self.select_layers([split_pooled_name(boundary)[0]])
        tail = make_tail(self.network, self.layers, self.transform.crop, chosen)
        self.select_layers([tail.output])
        return tail

    def notes(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return notes on the network and its weights, a sentence each.

        Parameters
        ----------
        names : sequence of str
            The layers whose codes are computed.
        """
        declared = (self.input_note,) if self.input_note else ()
        notes = (*declared, *network_notes(self.network))
        if self.loaded is None:
            return notes
        return (*notes, *self.loaded.notes_for(self.select_layers(names)[-1].name))

    def program(self, names: Sequence[str], *, relu: bool, pool: str) -> nn.Module:
        """Return the network up to some layers as a straight program of PyTorch's operations.

        Parameters
        ----------
        names : sequence of str
        relu : bool
            Whether to set negative activations to zero, before pooling.
        pool : str
            As in a spec.

        Returns
        -------
        nn.Module
            In float32 on the CPU, with weights of its own. From normalised images of shape
            (n, 3, height, width), for any n, to a dict of codes by layer.

        Raises
        ------
        UnknownNameError
            There is no such layer; the nearest names are suggested.
        BackboneError
            The network cannot be traced, or its program gives other codes.
        """
        truncated = TruncatedNetwork(self.network, self.select_layers(names), relu=relu, pool=pool)
        probed = probe(truncated, self.transform.crop)
        with errors_in_one_line(
            "the network cannot be traced as a program",
            hint="what it computes must depend neither on an image's values nor on their number",
        ):
            program = trace_float32(truncated, probed)
        if program is None:
            raise BackboneError(
                "the network cannot be traced as a program: the program gives other codes, or "
                "writes into what is read elsewhere"
            )
        return program

    def largest_code(self, names: Sequence[str], pool: str) -> int:
        """Return the number of values in the largest code among the given layers.

        Raises
        ------
        UnknownNameError
            There is no such layer.
        WeightsError
            A layer depends on a tensor that was not loaded.
        InvalidOptionError
            A layer does not support this pooling.
        """
        return max(layer.code_size(pool) for layer in self.select_layers(names))

    @cached_property
    def _forward_order(self) -> ForwardOrder:
        return observe_order(self.network, self.transform.crop)


def load_backbone(
    model: str | nn.Module,
    weights: str | PathLike[str] = "DEFAULT",
    *,
    transform: dict[str, Any] | None = None,
) -> Backbone:
    """Load a frozen network.

    Parameters
    ----------
    model : str or nn.Module
        One of:

        * a torchvision classification model's name;
        * ``timm:NAME`` or ``timm:NAME.TAG``, a model of timm, or ``hf-hub:org/name``, one of the
          Hugging Face hub for timm;
        * ``path/to/file.py:factory``, a function that returns the network when called without
          arguments. The file is executed;
        * a network. It is copied, and never changed.

        A network of your own may say what input it expects: in a dictionary `preprocess` of fields
        of `InputTransform`, or by timm's `pretrained_cfg`. Otherwise it gets ImageNet's usual one.
    weights : str, PathLike or member of torchvision's enum
        ``"DEFAULT"``, a torchvision weights name, ``"none"`` (random, but the same every time),
        or a file: what ``torch.save`` or safetensors wrote, bare or in a training script's
        checkpoint. For a network of your own, ``"DEFAULT"`` and ``"none"`` both mean the weights
        that it has. The name of a file that exists is that file.
    transform : dict, optional
        Fields of `InputTransform` that replace those of the weights; None leaves one alone.

    Returns
    -------
    Backbone

    Raises
    ------
    UnknownNameError
        No model or weights of that name.
    BackboneError
        The network cannot be built or copied.
    WeightsError
        The weights cannot be downloaded or read, or nothing of them fits.
    InvalidOptionError
        A field of `preprocess` is not allowed, or `model` is of another type.

    Examples
    --------
    >>> backbone = load_backbone("squeezenet1_1", "none")
    >>> backbone.model, len(backbone.weights_digest), backbone.network.training
    ('squeezenet1_1', 64, False)
    """
    changes = validate_transform_fields(**(transform or {}))
    source, weights = find_source(model), weights_name(model, weights)
    file = require_weights_file(weights)
    published = source.published_files(weights)
    files = None if published is None else file_states([*published, *([file] if file else [])])
    with pytorch_defaults():
        built, identity, preset = source.build(weights)
        require_values(built)
        used = dataclasses.replace(preset, **changes)
        materialise(built, used.crop)
        loaded = load_weights(built, file, model=identity.partition("@")[0]) if file else None
        # By the names and types of the given network, before preparation.
        digest = digest_weights(built, loaded.left_out if loaded else ())
        network = prepare_network(built, used.crop)
    reference = ModelReference(source.reference, str(file.resolve()) if file else weights)
    if isinstance(model, str) and files is not None:
        remember_network(
            model, weights, files, NetworkIdentity(identity, digest, preset, reference)
        )
    return Backbone(
        network=network,
        model=identity,
        weights_digest=digest,
        transform=used,
        reference=reference,
        input_note=describe_input(network, used, changes),
        loaded=loaded,
    )


def build_skeleton(
    model: str | nn.Module, weights: str | PathLike[str] = "DEFAULT", *, crop: int | None = None
) -> tuple[nn.Module, InputTransform]:
    """Build a network without its weights, to list its layers: nothing is downloaded.

    Parameters
    ----------
    model : str or nn.Module
        A torchvision classification model's name; ``timm:NAME`` or ``hf-hub:org/name``;
        ``path/to/file.py:factory``, which is executed; or a network, which is copied.
    weights : str or PathLike
        ``"DEFAULT"``, a torchvision weights name, ``"none"`` or a weights file: decides nothing
        but the size of the input.
    crop : int, optional
        Height and width of the input in pixels; what the weights expect unless given.

    Returns
    -------
    network : nn.Module
        Frozen; on the meta device for the models of torchvision and timm.
    transform : InputTransform
        What the weights expect.

    Raises
    ------
    UnknownNameError
        No model or weights of that name.
    BackboneError
        The network cannot be built or copied.
    WeightsError
        There is no such weights file.

    Examples
    --------
    >>> network, transform = build_skeleton("resnet18")
    >>> network.fc.weight.device.type, transform.resize, transform.crop
    ('meta', 256, 224)
    """
    source, weights = find_source(model), weights_name(model, weights)
    require_weights_file(weights)
    with pytorch_defaults():
        built, transform = source.build_skeleton(weights)
        materialise(built, crop or transform.crop)
    return prepare_network(built, crop or transform.crop), transform
