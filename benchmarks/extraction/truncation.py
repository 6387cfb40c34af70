"""Measure what truncating the network saves, and what further layers in the same pass cost."""

import functools
import tempfile
from collections.abc import Mapping
from pathlib import Path

from benchmarks.extraction.stages import Job, end_to_end, forward_each
from benchmarks.helpers.interleave import interleave, median, ratio
from benchmarks.helpers.log import log_row
from benchmarks.helpers.synthetic_images import write_jpegs
from benchmarks.profiles import FULL_EXTRACTION, ExtractionProfile
from bottleneck.backbones.backbone import build_skeleton
from bottleneck.backbones.layers.listing import list_layers, select_layers

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


def truncation(profile: ExtractionProfile = FULL_EXTRACTION) -> str:
    """Compare the time up to a layer with its share of the multiply-adds."""
    network, transform = build_skeleton(profile.truncated, "none")
    crop = profile.transform.get("crop", transform.crop)
    work = {
        layer.name: layer.cost or 0.0
        for layer in select_layers(list_layers(network, crop), _LAYERS)
    }
    found = _measure_jobs(
        {layer: _job(profile.truncated, (layer,), profile) for layer in _LAYERS}, profile
    )
    last_whole, last_forward = found[_LAYERS[0]]
    return "\n".join(
        [
            f"{profile.truncated}, float32, averaged codes, {profile.detail} generated JPEGs of "
            f"500 × 375 from end to end, and the network alone; each over the time to "
            f"{_LAYERS[0]}, medians of {profile.turns} pairs.",
            "",
            "| last layer | share of the multiply-adds | forward alone | end to end "
            "| forward alone, ms an image | end to end, ms an image |",
            "|---|---|---|---|---|---|",
            *(
                log_row(
                    f"| {layer} | {work[layer] / work[_LAYERS[0]]:.2f} "
                    f"| {ratio(forward, last_forward):.2f} | {ratio(whole, last_whole):.2f} "
                    f"| {1e3 * median(forward):.2f} | {1e3 * median(whole):.2f} |"
                )
                for layer, (whole, forward) in found.items()
            ),
        ]
    )


def more_layers(profile: ExtractionProfile = FULL_EXTRACTION) -> str:
    """Compare a pass that returns two or three pooled layers with one that returns one."""
    lines = [
        f"float32, averaged codes, {profile.detail} generated JPEGs of 500 × 375; each over the "
        f"time of the pass for one layer, medians of {profile.turns} pairs.",
        "",
        "| network | layers | end to end | forward alone | end to end, ms an image |",
        "|---|---|---|---|---|",
    ]
    for model, choices in _MORE.items():
        jobs = {", ".join(layers): _job(model, layers, profile) for layers in choices}
        found = _measure_jobs(jobs, profile)
        one_whole, one_forward = found[next(iter(jobs))]
        lines += [
            log_row(
                f"| {model} | {layers} | {ratio(whole, one_whole):.3f} "
                f"| {ratio(forward, one_forward):.3f} | {1e3 * median(whole):.2f} |"
            )
            for layers, (whole, forward) in found.items()
        ]
    return "\n".join(lines)


def _job(model: str, layers: tuple[str, ...], profile: ExtractionProfile) -> Job:
    return Job(model, layers, batch=profile.batch, transform=profile.transform)


def _measure_jobs(jobs: Mapping[str, Job], profile: ExtractionProfile) -> Seconds:
    """Measure every job end to end, and then its forward pass alone, interleaved."""
    with tempfile.TemporaryDirectory() as place:
        images, few = Path(place) / "images", Path(place) / "few"
        write_jpegs(images, profile.detail)
        write_jpegs(few, profile.few)

        def whole(job: Job) -> float:
            return 1 / end_to_end(job, images).rate

        end_to_end(next(iter(jobs.values())), few)  # what is done at first use
        ends = interleave(
            {name: functools.partial(whole, job) for name, job in jobs.items()}, profile.turns
        )
    alone = interleave(
        {
            name: functools.partial(forward_each, job, at_least=profile.seconds)
            for name, job in jobs.items()
        },
        profile.turns,
    )
    return {name: (ends[name], alone[name]) for name in jobs}
