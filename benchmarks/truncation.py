"""What ending the forward pass early saves, and what further layers in the same pass cost."""

import functools
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pictures import write_jpegs
from sizes import FULL_EXTRACTION, ExtractionSize
from stages import Job, end_to_end, forward_each
from turns import in_turns, median, ratio

from bottleneck.backbones.backbone import build_skeleton
from bottleneck.backbones.layers import list_layers, select_layers

_LAYERS = ("layer4", "layer3", "layer2")

# The one layer, then one and two more, all pooled.
_MORE = {
    "resnet18": [("layer4",), ("layer3", "layer4"), ("layer2", "layer3", "layer4")],
    "squeezenet1_0": [
        ("features.12",),
        ("features.10", "features.12"),
        ("features.7", "features.10", "features.12"),
    ],
}

Seconds = dict[str, tuple[list[float], list[float]]]  # of an image: end to end, and forward alone


def truncation(size: ExtractionSize = FULL_EXTRACTION) -> str:
    """The time to a layer over that to the last one, against its share of the multiply-adds."""
    network, transform = build_skeleton(size.truncated, "none")
    crop = size.transform.get("crop", transform.crop)
    work = {layer.name: layer.cost for layer in select_layers(list_layers(network, crop), _LAYERS)}
    found = _in_turns({layer: _job(size.truncated, (layer,), size) for layer in _LAYERS}, size)
    last_whole, last_forward = found[_LAYERS[0]]
    return "\n".join(
        [
            f"{size.truncated}, float32, averaged codes, {size.detail} generated JPEGs of "
            f"500 × 375 from end to end, and the network alone; each over the time to "
            f"{_LAYERS[0]}, medians of {size.turns} pairs.",
            "",
            "| last layer | share of the multiply-adds | forward alone | end to end "
            "| forward alone, ms an image | end to end, ms an image |",
            "|---|---|---|---|---|---|",
            *(
                _told(
                    f"| {layer} | {work[layer] / work[_LAYERS[0]]:.2f} "
                    f"| {ratio(forward, last_forward):.2f} | {ratio(whole, last_whole):.2f} "
                    f"| {1e3 * median(forward):.2f} | {1e3 * median(whole):.2f} |"
                )
                for layer, (whole, forward) in found.items()
            ),
        ]
    )


def more_layers(size: ExtractionSize = FULL_EXTRACTION) -> str:
    """The time of a pass that reads two or three pooled layers over that which reads one."""
    lines = [
        f"float32, averaged codes, {size.detail} generated JPEGs of 500 × 375; each over the time "
        f"of the pass for one layer, medians of {size.turns} pairs.",
        "",
        "| network | layers | end to end | forward alone | end to end, ms an image |",
        "|---|---|---|---|---|",
    ]
    for model, choices in _MORE.items():
        jobs = {", ".join(layers): _job(model, layers, size) for layers in choices}
        found = _in_turns(jobs, size)
        one_whole, one_forward = found[next(iter(jobs))]
        lines += [
            _told(
                f"| {model} | {layers} | {ratio(whole, one_whole):.3f} "
                f"| {ratio(forward, one_forward):.3f} | {1e3 * median(whole):.2f} |"
            )
            for layers, (whole, forward) in found.items()
        ]
    return "\n".join(lines)


def _job(model: str, layers: tuple[str, ...], size: ExtractionSize) -> Job:
    return Job(model, layers, batch=size.batch, transform=size.transform)


def _in_turns(jobs: Mapping[str, Job], size: ExtractionSize) -> Seconds:
    """Every job from end to end, in turns, and then alone, in turns."""
    with tempfile.TemporaryDirectory() as place:
        images, few = Path(place) / "images", Path(place) / "few"
        write_jpegs(images, size.detail)
        write_jpegs(few, size.few)

        def whole(job: Job) -> float:
            return 1 / end_to_end(job, images).rate

        end_to_end(next(iter(jobs.values())), few)  # what is done at first use
        ends = in_turns(
            {name: functools.partial(whole, job) for name, job in jobs.items()}, size.turns
        )
    alone = in_turns(
        {
            name: functools.partial(forward_each, job, at_least=size.seconds)
            for name, job in jobs.items()
        },
        size.turns,
    )
    return {name: (ends[name], alone[name]) for name in jobs}


def _told(row: str) -> str:
    """The same, said at once."""
    print(row, file=sys.stderr, flush=True)
    return row
