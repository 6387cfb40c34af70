"""Tuned tails: the trained layers of a network behind a boundary, with a new output."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bottleneck.backbones import Backbone
from bottleneck.errors import HeadError
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training.checkpoint import tensors_under
from bottleneck.finetuning.training.module import TunedModule
from bottleneck.fitting import (
    INPUT,
    TAIL_FORMAT,
    Classifier,
    Tensors,
    common_fields,
    common_values,
    parse_classifier,
    require_tensor,
    softmax_calibration,
    validate_common,
    write_classifier,
)
from bottleneck.linear import mean_of_rows
from bottleneck.runtime import EXACT_FLOAT32, choose_device, is_out_of_memory, memory_errors
from bottleneck.spec import Spec

FORMAT_VERSION = 1
_ROWS = 64  # of a forward pass
_TAIL, _OUTPUT = "tail.", "output."


@dataclass(frozen=True, kw_only=True, eq=False)
class TunedTail(Classifier):
    """The trained layers of a network behind a boundary, with a new output.

    It reads the boundary's maps as a head reads codes; a whole network reads images. Beside its own
    attributes it has those of `bottleneck.fitting.heads.classifier.Classifier`.

    Attributes
    ----------
    shape : tuple of int
        Of one row of its input: maps (C, H, W), a code (D,), or an image.
    hidden : int
        Units of the new hidden layer before the output; 0 if there is none.
    tensors : dict of str to ndarray
        The layers' parameters and statistics, as ``tail.`` and their names in the network, and
        those of the output, ``output.…``.
    recipe : dict
        How it was trained: `TuneOptions` as they were given, with the precision that was computed
        in. The learning rate and epochs that were chosen are in `training_record`.
    module : nn.Module or None
        What computes; None until `with_network`.

    Examples
    --------
    >>> tuned = TunedTail.load("tail-layer3.safetensors")  # doctest: +SKIP
    >>> tuned.boundary, tuned.classes, tuned.recipe["optimizer"]  # doctest: +SKIP
    ('layer3', ['ants', 'bees'], 'adamw')
    """

    owner = "the tuned tail"
    next_step = "it reads only maps of its own spec; `bottleneck.tune` makes another"

    shape: tuple[int, ...]
    hidden: int
    tensors: Tensors
    recipe: dict[str, Any]
    module: nn.Module | None = field(default=None, repr=False, compare=False)

    def __repr__(self) -> str:
        """Return a short description."""
        return f"<TunedTail: behind {self.features}, {len(self.classes)} classes>"

    @classmethod
    def of_module(cls, module: TunedModule, options: TuneOptions, **fields: Any) -> Self:
        """Return a trained module as a classifier.

        Parameters
        ----------
        module : TunedModule
            It is not copied.
        options : TuneOptions
        **fields
            Those of `Classifier` but `calibration`.
        """
        k, multilabel = len(fields["classes"]), fields["multilabel"]
        return cls(
            shape=tuple(module.tail.in_shape),
            hidden=options.units,
            tensors=_tensors(module),
            recipe=asdict(options),
            calibration=softmax_calibration(k, multilabel=multilabel),
            module=module.eval().requires_grad_(False),
            **fields,
        )

    @property
    def boundary(self) -> str | None:
        """The layer whose maps it reads; None if it reads images."""
        (layer,) = self.features.layers
        return None if layer == INPUT else layer

    @property
    def parameters(self) -> int:
        """Number of trained parameters and statistics."""
        return sum(tensor.size for tensor in self.tensors.values())

    def require(self, spec: Spec, *, where: str) -> None:
        """Refuse codes of another spec, and any codes where it reads images.

        Raises
        ------
        HeadError
            It is a whole network.
        SpecMismatchError
            Names every field that differs.
        """
        if self.boundary is None:
            raise HeadError(f"the tuned network reads images, not codes as in {where}: give images")
        super().require(spec, where=where)

    def with_network(self, load: Callable[[], Backbone], device: str = "auto") -> Self:
        """Return it ready for `decision_function`: its tensors in the layers of its network.

        Parameters
        ----------
        load : callable
            Returns the network of its spec. Not called if it was trained in this process.
        device : str
            Where it computes: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

        Raises
        ------
        HeadError
            Its tensors do not fit the network's layers.
        BackboneError
            The network cannot be cut at the boundary.
        """
        where = choose_device(device)
        if self.module is not None:
            return replace(self, module=self.module.to(where))
        tail = load().tail(self.boundary)
        module = TunedModule(tail, classes=len(self.classes), hidden=self.hidden)
        wanted = _kinds(tail.in_shape, _tensors(module))
        given = _kinds(self.shape, self.tensors)
        if wanted != given:
            name = min(dict(wanted.items() ^ given.items()))
            raise HeadError(
                f"{self.owner} does not fit the network behind {self.boundary or 'its images'}: "
                f"{name} is {given.get(name, 'absent')}, and there {wanted.get(name, 'absent')}"
            )
        state = {name: torch.from_numpy(tensor) for name, tensor in self.tensors.items()}
        tail.program.load_state_dict(tensors_under(_TAIL, state))
        module.output.load_state_dict(tensors_under(_OUTPUT, state))
        return replace(self, module=module.eval().requires_grad_(False).to(where))

    def decision_function(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logit of each class, its mean over the views of an image.

        Parameters
        ----------
        codes : ndarray, shape (n · views, d)
            Flattened maps of the boundary, or normalised images. The views of an image are
            consecutive rows.

        Returns
        -------
        ndarray of float64, shape (n, k)

        Raises
        ------
        HeadError
            The maps have another size, or there is no network yet.
        DeviceMemoryError
            Not even one row fits into the memory of the device.
        """
        size = math.prod(self.shape)
        if codes.ndim != 2 or codes.shape[1] != size:
            raise HeadError(f"{self.owner} reads maps of size {size}, got shape {codes.shape}")
        if self.module is None:
            raise HeadError(f"{self.owner} has no network yet: `with_network` gives it one")
        parts, start, most = [np.empty((0, len(self.classes)))], 0, _ROWS
        hint = "take `device=cpu`, or a machine with more memory"
        with memory_errors("one image does not fit into memory", hint), EXACT_FLOAT32:
            while start < len(codes):
                try:
                    parts.append(_run(self.module, codes[start : start + most], self.shape))
                    start += most
                except (RuntimeError, MemoryError) as error:
                    if most == 1 or not is_out_of_memory(error):
                        raise
                    most //= 2
        return np.asarray(mean_of_rows(np.concatenate(parts), self.features.views))

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as safetensors: parameters as tensors, the rest as JSON metadata.

        Parameters
        ----------
        path : str or PathLike
            Output file; an existing one is replaced atomically.
        """
        values = {
            "format": TAIL_FORMAT,
            "format_version": FORMAT_VERSION,
            "boundary": self.boundary,
            "shape": list(self.shape),
            "hidden": self.hidden,
            "recipe": self.recipe,
        }
        write_classifier(Path(path), self.tensors, values | common_values(self))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read a tuned tail; no code in the file is executed, and no network is loaded.

        Parameters
        ----------
        path : str or PathLike
            File that `save` wrote.

        Raises
        ------
        HeadError
            There is no such file, it is not a tuned tail, or it is damaged.
        """
        path = Path(path)
        with parse_classifier(path, TAIL_FORMAT, (FORMAT_VERSION,), _is_parameter) as parts:
            tensors, values = parts
            boundary = values["boundary"]
            fields = common_fields(values, (INPUT if boundary is None else boundary,))
            k, multilabel = len(fields["classes"]), fields["multilabel"]
            tuned = cls(
                shape=tuple(values["shape"]),
                hidden=values["hidden"],
                tensors=tensors,
                recipe=dict(values["recipe"]),
                calibration=softmax_calibration(k, multilabel=multilabel),
                **fields,
            )
        _validate(path, tuned)
        return tuned


def _run(module: nn.Module, rows: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the logits of flattened maps, on the device of the module."""
    maps = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32)).reshape(-1, *shape)
    with torch.inference_mode():
        values = module(maps.to(next(module.parameters()).device))
        return np.asarray(values.double().cpu().numpy())


def _is_parameter(name: str) -> bool:
    return name.startswith((_TAIL, _OUTPUT))


def _tensors(module: TunedModule) -> Tensors:
    """Return the state of a module by the names that files have."""
    tail, output = module.tail.program.state_dict(), module.output.state_dict()
    state = {_TAIL + name: tensor for name, tensor in tail.items()}
    state |= {_OUTPUT + name: tensor for name, tensor in output.items()}
    return {name: tensor.detach().cpu().numpy() for name, tensor in state.items()}


def _kinds(shape: tuple[int, ...], tensors: Tensors) -> dict[str, str]:
    """Return the type and shape of what a tail reads, and of its tensors, by name."""
    kinds = {name: f"{tensor.dtype} of shape {tensor.shape}" for name, tensor in tensors.items()}
    return kinds | {"the input": f"of shape {shape}"}


def _validate(path: Path, tuned: TunedTail) -> None:
    validate_common(path, tuned)
    shape, hidden = tuned.shape, tuned.hidden
    are_whole = all(type(size) is int for size in (*shape, hidden))
    if not (are_whole and shape and min(shape) > 0 and hidden >= 0):
        raise HeadError(
            f"{path}: the shape is {shape} with {hidden!r} hidden units, must be whole numbers "
            "above 0, of hidden units 0 or more"
        )
    for name, tensor in tuned.tensors.items():
        if name.startswith(_OUTPUT):
            require_tensor(path, name, tensor, tensor.shape, np.float32)
        elif np.isnan(tensor).any():  # a mask may be infinite; `with_network` compares types
            raise HeadError(f"{path} is damaged: {name} has values that are not numbers")
    last = _OUTPUT + ("2." if tuned.hidden else "")
    for name, ndim in (("weight", 2), ("bias", 1)):
        tensor = tuned.tensors.get(last + name, np.empty(0))
        if tensor.ndim != ndim or len(tensor) != len(tuned.classes):
            raise HeadError(
                f"{path} is damaged: {last}{name} has shape {tensor.shape}, and there are "
                f"{len(tuned.classes)} classes"
            )
