"""Loading: copy the matching tensors of a checkpoint into a network, and record differences.

A head of other classes, or none at all, is no obstacle to a layer before it. So differences are
kept, and only a layer that depends on one is refused, strictly.
"""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from bottleneck.backbones.checkpoints.matching import (
    OTHER_MODEL,
    Match,
    describe_misfit,
    fits,
    is_counter,
    match_tensors,
    splitter,
)
from bottleneck.backbones.checkpoints.reading import read_checkpoint
from bottleneck.backbones.layers.forward_order import ForwardOrder
from bottleneck.backbones.layers.layer import Layer
from bottleneck.backbones.sources.inspection.wrappers import without_wrappers
from bottleneck.errors import WeightsError, format_error

# Usual names of modules after a network's last layer, and of modules for training alone.
_HEADS = frozenset(
    {
        *("head", "heads", "head_dist", "fc", "classifier", "last_linear", "logits", "output"),
        *("projector", "projection_head", "projection", "predictor", "prototypes"),
        *("queue", "queue_ptr", "aux1", "aux2", "AuxLogits", "aux_classifier"),
    }
)


@dataclass(frozen=True)
class Misfit:
    """A difference between a weights file and a network. It matters to some layers at most.

    Names are those of the network without wrappers, which may be taken off after the loading.

    Attributes
    ----------
    problem : str
        What differs, for messages.
    tensor : str
        The network's tensor that has not been loaded; empty if it is the network that lacks one.
    module : str
        Of a tensor that the network lacks: the module that would have it, or the nearest one
        around that; empty for the network itself.
    position : int or None
        Its place in the file's order, where that is the order of the modules that were saved.
    """

    problem: str
    tensor: str = ""
    module: str = ""
    position: int | None = None


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded of a weights file.

    Attributes
    ----------
    file : Path
    model : str
        The network's name, for messages.
    notes : tuple of str
        Where the weights were in the file and what was passed over, a sentence each; empty if all
        of its tensors have the names and shapes of the network's.
    misfits : tuple of Misfit
        Differences. Layers that depend on one are refused.
    left_out : frozenset of str
        The network's names of tensors that have not been loaded, with the counters beside them.
    positions : dict of str to int
        The places of the network's tensors in the file's order, by their names without wrappers.
    """

    file: Path
    model: str
    notes: tuple[str, ...]
    misfits: tuple[Misfit, ...]
    left_out: frozenset[str]
    positions: dict[str, int]

    def require_layers(
        self, layers: Sequence[Layer], known: Sequence[Layer], order: ForwardOrder
    ) -> None:
        """Refuse layers that depend on something that was not loaded.

        Parameters
        ----------
        layers : sequence of Layer
            In the order of computation.
        known : sequence of Layer
            Every layer of the network, in this order.
        order : ForwardOrder
            Of the network.

        Raises
        ------
        WeightsError
            A layer depends on a tensor that does not fit. The message names the first such layer,
            and the last layer before it that does not.
        """
        for layer in layers:
            problems = self._problems(layer, order)
            if not problems:
                continue
            sound = [*itertools.takewhile(lambda each: not self._problems(each, order), known)]
            earlier = f"give `layers` up to {sound[-1].name!r}, " if sound else ""
            raise WeightsError(
                f"{self.file} does not fit {self.model}: {_counted(problems)}, and layer "
                f"{layer.name!r} depends on it",
                hint=f"{earlier}{OTHER_MODEL}",
            )

    def notes_for(self, layer: str) -> tuple[str, ...]:
        """Return the notes, and what does not fit behind the deepest layer that is computed."""
        if not self.misfits:
            return self.notes
        problems = _counted([misfit.problem for misfit in self.misfits])
        return (*self.notes, f"{self.file}: {problems}: behind {layer!r}, which does not need it")

    def _problems(self, layer: Layer, order: ForwardOrder) -> list[str]:
        """Return the differences that a layer depends on."""
        end = order.outputs.get((layer.module, layer.call), math.inf)
        used = (self.positions.get(name, -1) for name, step in order.tensors.items() if step < end)
        last = max(used, default=-1)  # of the tensors in the file that the layer depends on

        def is_needed(misfit: Misfit) -> bool:
            if misfit.tensor:
                return order.tensors.get(misfit.tensor, math.inf) < end
            if misfit.module:
                return order.modules.get(misfit.module, math.inf) <= end
            return misfit.position is None or misfit.position < last

        return [misfit.problem for misfit in self.misfits if is_needed(misfit)]


def load_weights(network: nn.Module, file: Path, *, model: str) -> LoadedWeights:
    """Load the tensors of a weights file that fit a network, and report the others.

    Parameters
    ----------
    network : nn.Module
        Built without these weights.
    file : Path
        It exists; see `bottleneck.backbones.checkpoints.reading.read_checkpoint`.
    model : str
        The network's name, for messages.

    Raises
    ------
    WeightsError
        The file is not plain weights, or nothing in it fits the network.

    Examples
    --------
    >>> import tempfile, torch
    >>> trained, network = (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, k)) for k in (5, 10))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"state_dict": trained.state_dict()}, Path(folder) / "last.ckpt")
    ...     loaded = load_weights(network, Path(folder) / "last.ckpt", model="mine")
    >>> loaded.misfits[0].problem
    "'1.weight' is (5, 8) in the file and (10, 8) in the network"
    >>> sorted(loaded.left_out)
    ['1.bias', '1.weight']
    """
    checkpoint = read_checkpoint(file)
    expected = _network_tensors(network)
    match = match_tensors(checkpoint, expected, model=model)
    fitting = {
        name: entry.tensor
        for name, entry in match.entries.items()
        if fits(entry.tensor, expected[name])
    }
    # load_state_dict reads each module's version from the metadata; MNASNet requires it.
    state = network.state_dict()
    versioned = type(state)(fitting)
    versioned._metadata = state._metadata  # type: ignore[attr-defined]
    try:
        network.load_state_dict(versioned, strict=False)
    except RuntimeError as error:
        raise WeightsError(f"{file} does not fit {model}: {format_error(error)}") from error
    places = {id(entry): k for k, entry in enumerate(checkpoint.entries)}
    unfilled = dict(_unfilled(network, match, fitting))
    unknown = dict(_unknown(network, match, places if checkpoint.ordered else {}))
    return LoadedWeights(
        file=file,
        model=model,
        notes=tuple(_notes(file, match, unknown)),
        misfits=(*unfilled.values(), *unknown.values()),
        left_out=_left_out(expected, unfilled),
        positions={
            without_wrappers(name): places[id(entry)] for name, entry in match.entries.items()
        },
    )


def _network_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's state dict, without the extra state of its modules: it may be anything."""
    state = network.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _unfilled(
    network: nn.Module, match: Match, fitting: Mapping[str, Tensor]
) -> Iterator[tuple[str, Misfit]]:
    """Yield the names of the network's tensors that were not loaded, and why."""
    tensors = _network_tensors(network)
    filled = {id(tensors[name]) for name in fitting}
    for name, tensor in tensors.items():
        if id(tensor) in filled or is_counter(name):  # a tensor may have two names
            continue
        entry = match.entries.get(name)
        problem = (
            f"{name!r} is missing in the file"
            if entry is None
            else describe_misfit(name, entry.tensor, tensor)
        )
        yield name, Misfit(problem, tensor=without_wrappers(name))


def _left_out(names: Iterable[str], unfilled: Collection[str]) -> frozenset[str]:
    """Return the names of tensors that were not loaded, each with the counter of its module."""
    modules = {_module_of(name) for name in unfilled}
    counters = {name for name in names if is_counter(name) and _module_of(name) in modules}
    return frozenset({*unfilled, *counters})


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]


def _unknown(
    network: nn.Module, match: Match, places: Mapping[int, int]
) -> Iterator[tuple[str, Misfit]]:
    """Yield the names of tensors that the network has not, and where it would have them.

    Those that nothing in the network could lack are passed over: counters, and usual heads. A
    tensor's place in the file's order is looked up by its identity, where it is known.
    """
    split, outer = splitter(_network_tensors(network)), len(match.place.added)
    modules = {split(name): name for name, _ in network.named_modules()}
    for name, entry in match.unknown.items():
        parts = split(name)
        depths = range(len(parts), outer, -1)
        nearest = next((modules[parts[:k]] for k in depths if parts[:k] in modules), "")
        is_head = not nearest and bool(_HEADS.intersection(name.split(".")[outer : outer + 1]))
        if not is_head and not is_counter(name):
            problem, module = f"the network has no {name!r}", without_wrappers(nearest)
            yield name, Misfit(problem, module=module, position=places.get(id(entry)))


def _notes(file: Path, match: Match, unknown: Collection[str]) -> Iterator[str]:
    """Yield where the weights were, and what was passed over."""
    said = []
    renamed = ((name, entry) for name, entry in match.entries.items() if entry.name != name)
    name, entry = next(renamed, next(iter(match.entries.items())))
    if entry.keys:
        said.append(f"the weights under {'.'.join(entry.keys)!r}")
    if match.place.is_average:
        said.append("a moving average")
    if match.alternatives:
        others = " and ".join(map(str, match.alternatives[:3]))
        said.append(f"not those under {others}, which fit as well")
    if entry.name != name:
        said.append(f"{entry.name!r} as {name!r}")
    if said:
        yield f"{file}: loaded {', '.join(said)}"
    passed = [entry.name for entry in match.beside if not is_counter(entry.name)]
    passed += [entry.name for name, entry in match.unknown.items() if name not in unknown]
    if passed:
        yield f"{file}: passed over {_counted(list(map(repr, passed)))}"


def _counted(problems: Iterable[str]) -> str:
    first, *others = problems
    return f"{first} (and {len(others)} more)" if others else first
