"""Images a second from end to end, against what the machine allows and a script by hand."""

import dataclasses
import functools
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from by_hand import by_hand
from pictures import photographs, repeat, write_jpegs
from sizes import FULL_EXTRACTION, ExtractionSize, Network
from stages import (
    Job,
    decode_alone,
    end_to_end,
    forward_each,
    make_encoder,
    read_some,
)
from turns import in_turns, median, ratio


@dataclass(frozen=True)
class Pictures:
    """A set of images, in as many folders as there are counts of them.

    Attributes
    ----------
    name : str
    folders : dict of int to Path
        By how many images they hold.
    data : list of bytes
        Some of the files.
    """

    name: str
    folders: dict[int, Path]
    data: list[bytes]


def markdown(size: ExtractionSize = FULL_EXTRACTION) -> str:
    """The tables of each set of images."""
    caption = (
        "`extract` into a new cache on the CPU, the network's loading included. *Forward* is the "
        "truncated network alone, as the encoder runs it in the same precision, and *decoding* "
        "reading from memory, decoding and resizing alone, each with all cores for itself: one "
        "after the other they allow 1 / (1 / forward + 1 / decoding) images a second, and *of what "
        "they allow* says how much of that is reached from end to end. Medians of turns, ratios of "
        "pairs of one turn. By hand: ImageFolder, DataLoader and create_feature_extractor in "
        "float32 (benchmarks/by_hand.py), in a process of its own whose imports do not count."
    )
    with tempfile.TemporaryDirectory() as place:
        tables = [_tables(pictures, size) for pictures in _all_pictures(size, Path(place))]
    return "\n\n".join([caption, *tables])


def _all_pictures(size: ExtractionSize, place: Path) -> list[Pictures]:
    generated = write_jpegs(place / "generated" / "drawn", size.images)
    sets = {"Generated JPEGs of 500 × 375": generated}
    if found := photographs():
        sets[f"The {len(found)} Hymenoptera photographs, repeated"] = found
    return [
        _spread(name, paths, place / str(i), size) for i, (name, paths) in enumerate(sets.items())
    ]


def _spread(name: str, paths: Sequence[Path], place: Path, size: ExtractionSize) -> Pictures:
    counts = {size.images, size.few}
    counts |= {count for network in size.networks for count in (network.auto, network.float32)}
    folders = {count: place / f"{count}" for count in counts}
    for count, folder in folders.items():
        repeat(paths, folder, count)
    return Pictures(name, folders, read_some(paths))


def _tables(pictures: Pictures, size: ExtractionSize) -> str:
    rows: list[str] = []
    hand: list[str] = []
    for network in size.networks:
        for layer in network.layers:
            found = measured(network, layer, pictures, size)
            rows += _told(_rows(found))
            hand += _told(_rows_by_hand(found))
    lines = [
        f"{pictures.name}:",
        "",
        "| network | layer | precision | images | turns | end to end, images/s | forward "
        "| decoding | of what they allow | over float32 |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    if hand:
        lines += [
            "",
            "| by hand against | its batch size and num_workers | by hand, images/s "
            "| end to end, images/s | ratio |",
            "|---|---|---|---|---|",
            *hand,
        ]
    return "\n".join(lines)


def _told(rows: list[str]) -> list[str]:
    """The same, said at once: the whole takes half an hour."""
    for row in rows:
        print(row, file=sys.stderr, flush=True)
    return rows


@dataclass(frozen=True)
class Found:
    """What was measured in turns at one layer of one network: seconds an image.

    Attributes
    ----------
    network : Network
    layer : str
    chosen : dict of str to str
        The precisions that were run, by what was asked for.
    script : tuple of 2 int
        The best batch size and num_workers by hand.
    whole, forward : dict of str to list of float
        From end to end, and of the network alone, by the precision that was asked for.
    decode, hand : list of float
        Of decoding alone, and of the script by hand; empty where there is none.
    """

    network: Network
    layer: str
    chosen: dict[str, str]
    script: tuple[int, int]
    whole: dict[str, list[float]]
    forward: dict[str, list[float]]
    decode: list[float]
    hand: list[float]


def measured(network: Network, layer: str, pictures: Pictures, size: ExtractionSize) -> Found:
    """Run all that belongs to one layer, in turns."""
    plain = Job(network.model, (layer,), batch=size.batch, transform=size.transform)
    few = pictures.folders[size.few]
    # What `auto` means here; and what is done at first use is out of the way.
    chosen = {"auto": end_to_end(dataclasses.replace(plain, precision="auto"), few).precision}
    if chosen["auto"] != "float32":
        chosen["float32"] = end_to_end(plain, few).precision
    things: dict[str, Callable[[], float]] = {}
    for name, precision in chosen.items():
        images = pictures.folders[getattr(network, name)]
        asked, alone = (dataclasses.replace(plain, precision=p) for p in (name, precision))
        things[f"whole {name}"] = functools.partial(_whole_each, asked, images)
        things[f"forward {name}"] = functools.partial(forward_each, alone, at_least=size.seconds)
    transform = make_encoder(plain).transform
    things["decode"] = functools.partial(
        decode_alone, pictures.data, transform, at_least=size.seconds
    )
    script = (0, 0)
    if network.by_hand and layer == network.layers[0]:
        script = _best_script(plain, few, size)
        images = pictures.folders[size.images]
        things["hand"] = functools.partial(by_hand, plain, images, few, *script)
    found = in_turns(things, network.turns)
    return Found(
        network=network,
        layer=layer,
        chosen=chosen,
        script=script,
        whole={name: found[f"whole {name}"] for name in chosen},
        forward={name: found[f"forward {name}"] for name in chosen},
        decode=found["decode"],
        hand=found.get("hand", []),
    )


def _best_script(job: Job, few: Path, size: ExtractionSize) -> tuple[int, int]:
    if len(size.scripts) == 1:
        return size.scripts[0]
    return min(size.scripts, key=lambda script: by_hand(job, few, few, *script))


def _whole_each(job: Job, images: Path) -> float:
    return 1 / end_to_end(job, images).rate


def _rows(found: Found) -> list[str]:
    """A line for each precision."""
    lines = []
    for name in found.chosen:
        whole, forward, decode = found.whole[name], found.forward[name], found.decode
        allowed = [a + b for a, b in zip(forward, decode, strict=True)]
        plain = f"{ratio(found.whole['float32'], whole):.2f}" if "float32" in found.chosen else ""
        lines.append(
            f"| {found.network.model} | {found.layer} | {_shown(found, name)} "
            f"| {getattr(found.network, name)} | {len(whole)} "
            f"| {_rate(whole)} | {_rate(forward)} | {_rate(decode)} "
            f"| {ratio(allowed, whole):.2f} | {plain} |"
        )
    return lines


def _rows_by_hand(found: Found) -> list[str]:
    """A line for each precision against the script by hand; none where there is no script."""
    if not found.hand:
        return []
    batch, workers = found.script
    return [
        f"| {found.network.model}, {found.layer}, {_shown(found, name)} | {batch}, {workers} "
        f"| {_rate(found.hand)} | {_rate(whole)} | {ratio(found.hand, whole):.2f} |"
        for name, whole in found.whole.items()
    ]


def _shown(found: Found, name: str) -> str:
    return f"auto: {found.chosen[name]}" if name == "auto" else name


def _rate(seconds: list[float]) -> str:
    return f"{1 / median(seconds):.1f}"
