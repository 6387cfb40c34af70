"""Load networks for encoding: the spec of their codes, and the network of existing codes again."""

import dataclasses
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from torch import nn

from bottleneck.backbones import Backbone, is_weights_file, load_backbone
from bottleneck.data import nvjpeg_obstacle
from bottleneck.errors import BackboneError, InvalidOptionError, WeightsError
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.options import ComputeOptions
from bottleneck.model_reference import ModelReference
from bottleneck.pooling import check_pool
from bottleneck.runtime import choose_devices, require_trusted_code, trust_code
from bottleneck.spec import Spec


def make_spec(backbone: Backbone, *, precision: str, relu: bool, pool: str) -> Spec:
    """Return the spec of the codes that a backbone gives with this version of the program.

    Parameters
    ----------
    backbone : Backbone
    precision : str
        Of weights and activations: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    relu : bool
        Whether negative activations are set to zero before pooling.
    pool : str
        One of `bottleneck.pooling.POOLINGS`, or a grid's side as digits.

    Raises
    ------
    InvalidOptionError
        There is no such pooling, or `relu` is something else.

    Examples
    --------
    >>> backbone = load_backbone(nn.Sequential(nn.Conv2d(3, 8, 3)))
    >>> make_spec(backbone, precision="float32", relu=True, pool="max").pool
    'max'
    """
    if not isinstance(relu, bool):  # a spec with another value could not be read again
        raise InvalidOptionError("relu", relu, "True or False")
    return Spec(
        model=backbone.model,
        weights_digest=backbone.weights_digest,
        transform=backbone.transform,
        precision=precision,
        relu=relu,
        pool=check_pool(pool),
    )


def load_network(
    spec: Spec,
    reference: ModelReference,
    *,
    model: str | nn.Module | None = None,
    weights: str | PathLike[str] | None = None,
    owner: str,
    next_step: str,
) -> Backbone:
    """Load the network of existing codes again.

    Parameters
    ----------
    spec : Spec
        The spec of the existing codes.
    reference : ModelReference
        The network as a head or cache names it. If that is code, it must be trusted.
    model : str or nn.Module, optional
        The network, if its file has moved or it was given as an object; it must be the same.
    weights : str or PathLike, optional
        The weights, if their file has moved; they must be the same.
    owner : str
        What has the spec, for messages: ``"the head"``.
    next_step : str
        What the user can do if the network is another one, for messages.

    Raises
    ------
    UntrustedCodeError
        The network is code that the user has never given.
    SpecMismatchError
        The network, its weights or this program's decoder are not those of the spec.
    BottleneckError
        The network cannot be loaded.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    >>> backbone = load_backbone(network)
    >>> spec = make_spec(backbone, precision="float32", relu=True, pool="avg")
    >>> again = load_network(
    ...     spec,
    ...     backbone.reference,
    ...     model=network,
    ...     owner="cache a",
    ...     next_step="give the same network",
    ... )
    >>> again.weights_digest == spec.weights_digest
    True
    """
    found, its_weights = locate_network(reference, model, weights, owner=owner)
    try:
        return load_matching_backbone(spec, found, its_weights, owner=owner, next_step=next_step)
    except WeightsError as error:
        if model is None or weights:
            raise
        # The weights are those of the reference: what does not fit them is the model.
        raise WeightsError(
            f"{owner} is of {reference.model}, whose weights the given `model` gets: "
            f"{error.problem}",
            hint="leave `model` out, unless that network has moved",
        ) from error


def make_encoder(
    backbone: Backbone,
    spec: Spec,
    layers: Sequence[str],
    *,
    compute: ComputeOptions = ComputeOptions(),
    images: int | None = None,
) -> Encoder:
    """Return an encoder of some layers of a network; of its input where a layer is ``""``.

    Parameters
    ----------
    backbone : Backbone
    spec : Spec
        Of that network.
    layers : sequence of str
        Names of layers; or ``""`` alone, whose codes are what the network gets of each image.
    compute : ComputeOptions
        `device`, `runtime`, `batch_size`, `workers` and `max_pixels` are used.
    images : int, optional
        Images that are to be encoded, each counted once a view, if that is known: a network is not
        traced for a few.

    Raises
    ------
    UnknownNameError
        There is no such layer.

    Examples
    --------
    >>> backbone = load_backbone(nn.Sequential(nn.Conv2d(3, 8, 3)), transform={"crop": 32})
    >>> spec = make_spec(backbone, precision="float32", relu=False, pool="none")
    >>> [layer.shape for layer in make_encoder(backbone, spec, [""]).layers]
    [(3, 32, 32)]
    """
    devices = choose_devices(compute.device)
    if list(layers) == [""]:
        # A network that gives what it gets: images are read, decoded and normalised as for others.
        backbone = load_backbone(nn.Sequential(nn.Identity()), transform=spec.transform.to_fields())
        (layer,) = backbone.select_layers(["0"])
        chosen = [dataclasses.replace(layer, name="")]
    else:
        chosen = backbone.select_layers(layers)
    return Encoder(backbone, chosen, spec, devices, compute=compute, images=images)


def require_decoder_of(spec: Spec, device: str, *, owner: str) -> None:
    """Refuse a device that does not decode images as those of existing codes were decoded.

    Parameters
    ----------
    spec : Spec
        The spec of the existing codes.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    owner : str
        What has the spec, for messages: ``"the head"``.

    Raises
    ------
    InvalidOptionError
        The spec's decoder is that of a GPU, and there is none; the message says why.
    """
    if not spec.transform.decodes_on_gpu:
        return
    if why := nvjpeg_obstacle(choose_devices(device)[0]):
        raise InvalidOptionError(
            "device",
            device,
            f"a GPU that decodes JPEGs, as it was for the codes of {owner}, but {why}",
            "where there is none, extract with `decoder=exact` into another cache, and fit again",
        )


def locate_network(
    reference: ModelReference,
    model: str | nn.Module | None,
    weights: str | PathLike[str] | None,
    *,
    owner: str,
) -> tuple[str | nn.Module, str | PathLike[str]]:
    """Return the model and weights to load: those that the user gives, else those referred to.

    Parameters
    ----------
    reference : ModelReference
        The network as a head or cache names it.
    model : str or nn.Module, optional
        The network that the user gives instead.
    weights : str or PathLike, optional
        The weights that the user gives instead.
    owner : str
        What names the network, for messages: ``"the head"``.

    Raises
    ------
    UntrustedCodeError
        The reference is code that the user has never given.
    BackboneError, WeightsError
        The reference is a file that is not there, as on another machine.
    """
    if model is None:
        _require_code_is_there(reference, owner)
        model = require_trusted_code(reference.model, where=owner)
    else:
        trust_code(model)
    if not weights:
        _require_weights_are_there(reference, owner)
    return model, weights or reference.weights


def _require_code_is_there(reference: ModelReference, owner: str) -> None:
    name, _, factory = reference.model.rpartition(":")
    file = Path(name)
    if file.is_absolute() and not file.is_file():
        raise BackboneError(
            f"{owner} names a network in {file}, which is not there",
            hint=f"if it has moved, say where it is by `model=path/to/{file.name}:{factory}`",
        )


def _require_weights_are_there(reference: ModelReference, owner: str) -> None:
    file = Path(reference.weights)
    if is_weights_file(reference.weights) and not file.exists():
        raise WeightsError(
            f"{owner} names weights in {file}, which are not there",
            hint=f"if they have moved, say where they are by `weights=path/to/{file.name}`",
        )


def load_matching_backbone(
    spec: Spec,
    model: str | nn.Module,
    weights: str | PathLike[str],
    *,
    owner: str,
    next_step: str,
    loaded_by: str = "",
) -> Backbone:
    """Load a network and refuse it unless it is that of a spec.

    Parameters
    ----------
    spec : Spec
        The spec of existing codes.
    model : str or nn.Module
        A torchvision or timm name, ``path/to/file.py:factory``, which is executed, or a network.
    weights : str or PathLike
        A weights name or file.
    owner : str
        What has the spec, for messages: ``"cache x"``.
    next_step : str
        What the user can do if it is another network, for messages.
    loaded_by : str
        What loads the network, for messages: ``"a worker on node7"``. The default is its name
        and that of its weights.

    Raises
    ------
    SpecMismatchError
        The network, its weights or this program's decoder are not those of the spec.
    BottleneckError
        The network cannot be loaded.
    """
    backbone = load_backbone(model, weights, transform=spec.transform.to_fields())
    actual = make_spec(backbone, precision=spec.precision, relu=spec.relu, pool=spec.pool)
    actual_owner = (
        loaded_by or f"{backbone.reference.model} with weights {backbone.reference.weights}"
    )
    spec.require(actual, this=owner, that=actual_owner, next_step=next_step)
    return backbone
