"""Compare images per second end to end with each stage alone and with a naive script."""

import dataclasses
import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.extraction.naive_script import best_script, run_naive_script
from benchmarks.extraction.stages import (
    Job,
    decode_alone,
    end_to_end,
    forward_each,
    make_encoder,
    read_some,
)
from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.log import log_row
from benchmarks.helpers.synthetic_images import photographs, repeat, write_jpegs
from benchmarks.profiles import FULL_EXTRACTION, ExtractionProfile, NetworkProfile


@dataclass(frozen=True)
class ImageSet:
    """A set of images, in one folder for each number of images that is needed.

    Attributes
    ----------
    name : str
    folders : dict of int to Path
        Folder by number of images.
    data : list of bytes
        Contents of some of the files.
    """

    name: str
    folders: dict[int, Path]
    data: list[bytes]


def markdown(profile: ExtractionProfile = FULL_EXTRACTION) -> str:
    """Return the tables of each set of images."""
    caption = (
        "`extract` into a new cache on the CPU, the network's loading included. *Forward* is the "
        "truncated network alone, as the encoder runs it in the same precision, and *decoding* "
        "reading from memory, decoding and resizing alone, each with all cores for itself: one "
        "after the other they allow 1 / (1 / forward + 1 / decoding) images a second, and *of what "
        "they allow* says how much of that is reached from end to end. Medians of turns, ratios of "
        "pairs of one turn. By hand: ImageFolder, DataLoader and create_feature_extractor in "
        "float32 (benchmarks/extraction/naive_script.py), in a process of its own whose imports do "
        "not count."
    )
    with tempfile.TemporaryDirectory() as place:
        tables = [_tables(image_set, profile) for image_set in _image_sets(profile, Path(place))]
    return "\n\n".join([caption, *tables])


def _image_sets(profile: ExtractionProfile, place: Path) -> list[ImageSet]:
    generated = write_jpegs(place / "generated" / "drawn", profile.images)
    sets = {"Generated JPEGs of 500 × 375": generated}
    if found := photographs():
        sets[f"The {len(found)} Hymenoptera photographs, repeated"] = found
    return [
        _spread(name, paths, place / str(i), profile)
        for i, (name, paths) in enumerate(sets.items())
    ]


def _spread(name: str, paths: Sequence[Path], place: Path, profile: ExtractionProfile) -> ImageSet:
    counts = {profile.images, profile.few}
    counts |= {count for network in profile.networks for count in (network.auto, network.float32)}
    folders = {count: place / f"{count}" for count in counts}
    for count, folder in folders.items():
        repeat(paths, folder, count)
    return ImageSet(name, folders, read_some(paths))


def _tables(image_set: ImageSet, profile: ExtractionProfile) -> str:
    rows: list[str] = []
    naive: list[str] = []
    for network in profile.networks:
        for layer in network.layers:
            found = measure(network, layer, image_set, profile)
            rows += map(log_row, _rows(found))
            naive += map(log_row, _naive_script_rows(found))
    lines = [
        f"{image_set.name}:",
        "",
        "| network | layer | precision | images | turns | end to end, images/s | forward "
        "| decoding | of what they allow | over float32 |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *rows,
    ]
    if naive:
        lines += [
            "",
            "| by hand against | its batch size and num_workers | by hand, images/s "
            "| end to end, images/s | ratio |",
            "|---|---|---|---|---|",
            *naive,
        ]
    return "\n".join(lines)


@dataclass(frozen=True)
class Measurement:
    """Seconds per image at one layer of one network, from interleaved runs.

    Attributes
    ----------
    network : NetworkProfile
    layer : str
    chosen : dict of str to str
        Precision that ran, by the one that was asked for.
    script : tuple of 2 int
        Best batch size and num_workers of the naive script.
    whole, forward : dict of str to list of float
        End to end, and the network alone, by the precision that was asked for.
    decode, naive : list of float
        Decoding alone, and the naive script; empty where it does not run.
    """

    network: NetworkProfile
    layer: str
    chosen: dict[str, str]
    script: tuple[int, int]
    whole: dict[str, list[float]]
    forward: dict[str, list[float]]
    decode: list[float]
    naive: list[float]


def measure(
    network: NetworkProfile, layer: str, image_set: ImageSet, profile: ExtractionProfile
) -> Measurement:
    """Measure everything at one layer, interleaved."""
    plain = Job(network.model, (layer,), batch=profile.batch, transform=profile.transform)
    few = image_set.folders[profile.few]
    # Find out what `auto` is on this machine; this is the warm-up as well.
    chosen = {"auto": end_to_end(dataclasses.replace(plain, precision="auto"), few).precision}
    if chosen["auto"] != "float32":
        chosen["float32"] = end_to_end(plain, few).precision
    things: dict[str, Callable[[], float]] = {}
    for name, precision in chosen.items():
        images = image_set.folders[getattr(network, name)]
        asked, alone = (dataclasses.replace(plain, precision=p) for p in (name, precision))
        things[f"whole {name}"] = functools.partial(_whole_each, asked, images)
        things[f"forward {name}"] = functools.partial(forward_each, alone, at_least=profile.seconds)
    transform = make_encoder(plain).transform
    things["decode"] = functools.partial(
        decode_alone, image_set.data, transform, at_least=profile.seconds
    )
    script = (0, 0)
    if network.naive_script and layer == network.layers[0]:
        script = best_script(plain, few, profile.scripts)
        images = image_set.folders[profile.images]
        things["naive"] = functools.partial(run_naive_script, plain, images, few, *script)
    found = interleave(things, network.turns)
    return Measurement(
        network=network,
        layer=layer,
        chosen=chosen,
        script=script,
        whole={name: found[f"whole {name}"] for name in chosen},
        forward={name: found[f"forward {name}"] for name in chosen},
        decode=found["decode"],
        naive=found.get("naive", []),
    )


def _whole_each(job: Job, images: Path) -> float:
    return 1 / end_to_end(job, images).rate


def _rows(found: Measurement) -> list[str]:
    """Format a row for each precision."""
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


def _naive_script_rows(found: Measurement) -> list[str]:
    """Format a row for each precision against the naive script; none where it did not run."""
    if not found.naive:
        return []
    batch, workers = found.script
    return [
        f"| {found.network.model}, {found.layer}, {_shown(found, name)} | {batch}, {workers} "
        f"| {_rate(found.naive)} | {_rate(whole)} | {ratio(found.naive, whole):.2f} |"
        for name, whole in found.whole.items()
    ]


def _shown(found: Measurement, name: str) -> str:
    return f"auto: {found.chosen[name]}" if name == "auto" else name


def _rate(seconds: list[float]) -> str:
    return f"{1 / median(seconds):.1f}"
