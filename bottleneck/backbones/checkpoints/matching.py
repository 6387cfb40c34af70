"""Matching: find a network's tensors in a checkpoint, by what fits it in name and shape.

Training scripts wrap networks (``module.``, ``_orig_mod.``), make them a part of others
(``model.``, ``backbone.``), and save state dicts under keys of their choice, several beside each
other. All of these are parts before a tensor's name. Each way to take parts off, or to put some
before, is a `Place`. That of most tensors that fit is chosen.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bottleneck.backbones.checkpoints.reading import Checkpoint, Entry
from bottleneck.backbones.sources.inspection.wrappers import without_wrappers
from bottleneck.errors import WeightsError

OTHER_MODEL = (  # the next step where weights and network do not belong together
    "name the model that these weights belong to, or give `model=file.py:factory` that builds it"
)

Parts = tuple[str, ...]
Split = Callable[[str], Parts]

# torchvision/models/densenet.py, _load_state_dict: published files still have the old names.
_DENSENET_OLD = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")

# Weights older than PyTorch 0.4.1 do not count batches, and in eval mode nothing reads the count.
# `thop` leaves its own counts in every module, and PyTorch's AveragedModel counts what it averaged.
_COUNTERS = frozenset({"num_batches_tracked", "n_averaged", "total_ops", "total_params"})

# Order of preference where several fit. First a moving average, or the teacher, which is one: timm
# and DINO evaluate these. Then the usual names, in this order. Last the names in `_LAST`.
_AVERAGES = frozenset({"ema", "swa", "averaged", "teacher"})
_USUAL = (
    *("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights"),
    *("params", "backbone", "encoder", "encoder_q", "online_encoder", "online_network", "trunk"),
    *("base_model", "feature_extractor", "image_encoder", "visual"),
)
_LAST = frozenset(
    {
        *("student", "encoder_k", "momentum_encoder", "target_encoder", "target_network"),
        *("optimizer", "momentum", "exp_avg", "exp_avg_sq", "momentum_buffer", "grad", "grads"),
    }
)


@dataclass(frozen=True)
class Place:
    """Where a network's tensors are in a checkpoint.

    Attributes
    ----------
    removed : tuple of str
        Parts that are taken off a name: keys, then a prefix; without those of wrappers.
    added : tuple of str
        Parts that are put before it then.

    Examples
    --------
    >>> str(Place(("state_dict", "backbone")))
    "'state_dict.backbone'"
    """

    removed: Parts
    added: Parts = ()

    @property
    def is_average(self) -> bool:
        """Whether it is named as a moving average of the weights."""
        return any(_AVERAGES & set(re.split(r"[^a-z]+", part.lower())) for part in self.removed)

    @property
    def preference(self) -> tuple[int, ...]:
        """What decides between places that fit alike: the smallest is taken."""
        if self.is_average:
            return (0, len(self.added))
        if any(part in _LAST for part in self.removed):
            return (3, len(self.added))
        if all(part in _USUAL for part in self.removed):
            return (1, len(self.added), *map(_USUAL.index, self.removed))
        return (2, len(self.added))

    def __str__(self) -> str:
        if self.added:
            return f"{'.'.join(self.added)!r} of the network"
        return repr(".".join(self.removed)) if self.removed else "no key"


@dataclass(frozen=True)
class Match:
    """A network's tensors in a checkpoint.

    Attributes
    ----------
    place : Place
        The one that was chosen.
    entries : dict of str to Entry
        By the network's name: the tensors there, whether their shapes fit or not.
    unknown : dict of str to Entry
        Tensors there for which the network has no name; by the name that they would have.
    beside : tuple of Entry
        Tensors of the same state dict that are elsewhere.
    alternatives : tuple of Place
        Other places that fit as many tensors.
    """

    place: Place
    entries: dict[str, Entry]
    unknown: dict[str, Entry]
    beside: tuple[Entry, ...]
    alternatives: tuple[Place, ...]


def match_tensors(checkpoint: Checkpoint, expected: Mapping[str, Tensor], *, model: str) -> Match:
    """Find a network's tensors in a checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
    expected : mapping of str to Tensor
        The network's state dict.
    model : str
        The network's name, for messages.

    Raises
    ------
    WeightsError
        No tensor fits; or several places fit alike, and their names do not tell which is meant.

    Examples
    --------
    >>> from pathlib import Path
    >>> state = torch.nn.Linear(3, 2).state_dict()
    >>> entries = tuple(Entry(("net",), f"module.{name}", state[name]) for name in state)
    >>> match = match_tensors(Checkpoint(Path("w.pth"), entries, True), state, model="linear")
    >>> str(match.place), {name: entry.name for name, entry in match.entries.items()}
    ("'net'", {'weight': 'module.weight', 'bias': 'module.bias'})
    """
    split = splitter(expected)
    found = _find_places(checkpoint, expected, split)
    counts = {
        place: sum(fits(entry.tensor, expected[name]) for name, entry in entries.items())
        for place, entries in found.items()
    }
    most = max(counts.values(), default=0)
    if not most:
        raise _no_fit(checkpoint, expected, found, model=model)
    best = [place for place in counts if counts[place] == most]
    chosen = min(best, key=lambda place: place.preference)
    rivals = [
        place
        for place in best
        if place.preference == chosen.preference and not _same(found[place], found[chosen])
    ]
    if rivals and not chosen.is_average:
        if 2 * most < sum(not is_counter(name) for name in expected):
            # A few tensors, as one block of a network has them: the places are no networks.
            raise _no_fit(checkpoint, expected, {}, model=model)
        raise WeightsError(
            f"{checkpoint.file} has tensors that fit {model} in several places: "
            f"{', '.join(map(str, [chosen, *rivals][:6]))}",
            hint="save the one that you mean alone, with torch.save",
        )
    others = tuple(place for place in best if place is not chosen)
    return _complete(checkpoint, Match(chosen, found[chosen], {}, (), others), expected, split)


def fits(tensor: Tensor, expected: Tensor) -> bool:
    """Return whether a tensor of a file can be copied into one of a network, value by value."""
    return (
        tensor.shape == expected.shape
        and tensor.device.type != "meta"
        and tensor.layout == torch.strided
        and tensor.is_quantized == expected.is_quantized
        and tensor.is_complex() == expected.is_complex()
    )


def is_counter(name: str) -> bool:
    """Return whether a tensor counts batches or operations, which decides no output.

    Examples
    --------
    >>> is_counter("bn1.num_batches_tracked"), is_counter("bn1.weight")
    (True, False)
    """
    return name.rpartition(".")[2] in _COUNTERS


def splitter(names: Iterable[str]) -> Split:
    """Return what splits names of a network and its files into parts, without those of wrappers.

    Parameters
    ----------
    names : iterable of str
        The network's. If some of these are equal without wrappers, wrappers stay.

    Examples
    --------
    >>> splitter(["0.weight"])("_orig_mod.0.module.weight")
    ('0', 'weight')
    """

    def split(name: str) -> Parts:
        plain = without_wrappers(_DENSENET_OLD.sub(r"\1\2", name))
        return tuple(plain.split(".")) if plain else ()

    known = list(names)
    are_distinct = len(set(map(split, known))) == len(known)
    return split if are_distinct else lambda name: tuple(name.split("."))


def describe_misfit(name: str, tensor: Tensor, expected: Tensor) -> str:
    """Say how a tensor of a file differs from the network's.

    Examples
    --------
    >>> describe_misfit("fc.bias", torch.zeros(5), torch.zeros(1000))
    "'fc.bias' is (5,) in the file and (1000,) in the network"
    """
    if tensor.shape != expected.shape:
        there, here = tuple(tensor.shape), tuple(expected.shape)
        return f"{name!r} is {there} in the file and {here} in the network"
    if tensor.is_meta:
        return f"{name!r} has no values in the file: it was saved on the meta device"
    return f"{name!r} is no plain tensor in the file ({tensor.dtype}, {tensor.layout})"


def _parts(entry: Entry, split: Split) -> tuple[Parts, Parts]:
    """Return the parts of an entry's keys and of its name."""
    return split(".".join(entry.keys)) if entry.keys else (), split(entry.name)


def _find_places(
    checkpoint: Checkpoint, expected: Mapping[str, Tensor], split: Split
) -> dict[Place, dict[str, Entry]]:
    """Return every place at which a name of the file is one of the network's."""
    names = {split(name): name for name in expected if not is_counter(name)}
    inner: defaultdict[Parts, list[Parts]] = defaultdict(list)  # names in a part of the network
    for parts in names:
        for k in range(1, len(parts)):
            inner[parts[k:]].append(parts[:k])
    found: defaultdict[Place, dict[str, Entry]] = defaultdict(dict)
    for entry in checkpoint.entries:
        keys, own = _parts(entry, split)
        for k in range(len(own)):
            if name := names.get(own[k:]):
                found[Place((*keys, *own[:k]))].setdefault(name, entry)
        for added in inner.get(own, ()):
            found[Place(keys, added)].setdefault(names[(*added, *own)], entry)
    return found


def _same(some: Mapping[str, Entry], others: Mapping[str, Entry]) -> bool:
    return some.keys() == others.keys() and all(
        _equal(entry.tensor, others[name].tensor) for name, entry in some.items()
    )


def _equal(a: Tensor, b: Tensor) -> bool:
    comparable = fits(a, b) and fits(b, a) and a.dtype == b.dtype
    return a is b or (comparable and torch.equal(a, b))


def _complete(
    checkpoint: Checkpoint, match: Match, expected: Mapping[str, Tensor], split: Split
) -> Match:
    """Add the counters, which do not decide between places, and sort what is left."""
    names = {split(name): name for name in expected}
    used = set(map(id, match.entries.values()))
    state_dicts = {entry.keys for entry in match.entries.values()}
    counters: dict[str, Entry] = {}
    unknown: dict[str, Entry] = {}
    beside: list[Entry] = []
    for entry in checkpoint.entries:
        if entry.keys not in state_dicts or id(entry) in used:
            continue
        keys, own = _parts(entry, split)
        full, depth = (*keys, *own), len(match.place.removed)
        parts = (*match.place.added, *full[depth:])
        if full[:depth] != match.place.removed:
            beside.append(entry)
        elif parts in names and is_counter(names[parts]):
            counters[names[parts]] = entry
        else:
            unknown[entry.name if parts in names else ".".join(parts)] = entry
    return replace(
        match, entries={**match.entries, **counters}, unknown=unknown, beside=tuple(beside)
    )


def _no_fit(
    checkpoint: Checkpoint,
    expected: Mapping[str, Tensor],
    found: Mapping[Place, Mapping[str, Entry]],
    *,
    model: str,
) -> WeightsError:
    """Return the error for a checkpoint without a match; it names the nearest one."""
    if found:
        place, entries = max(found.items(), key=lambda item: len(item[1]))
        name, entry = next(iter(entries.items()))
        problem = describe_misfit(name, entry.tensor, expected[name])
        problem += f" (under {place})" if place.removed else ""
    else:
        have = ", ".join(repr(entry.name) for entry in checkpoint.entries[:3])
        more = ", …" if len(checkpoint.entries) > 3 else ""
        under = ", ".join(map(repr, checkpoint.keys[:6]))
        problem = f"{next(iter(expected), '')!r} is missing in the file, which has {have}{more}"
        problem += f" under {under}" if under else ""
    hint = OTHER_MODEL
    if not found and (pairs := _same_shapes(checkpoint, expected)):
        renamed = ", ".join(f"{there!r} to {here!r}" for there, here in pairs[:2])
        hint = f"all shapes agree in their order, so rename the tensors, {renamed}, … and save them"
    return WeightsError(f"{checkpoint.file} does not fit {model}: {problem}", hint=hint)


def _same_shapes(checkpoint: Checkpoint, expected: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Return the names of file and network in pairs, if the shapes tell that they are the same."""
    there = [entry for entry in checkpoint.entries if not is_counter(entry.name)]
    here = [name for name in expected if not is_counter(name)]
    shapes = [tuple(entry.tensor.shape) for entry in there]
    if not checkpoint.ordered or shapes != [tuple(expected[name].shape) for name in here]:
        return []
    return [(entry.name, name) for entry, name in zip(there, here, strict=True)]
