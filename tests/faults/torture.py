"""Hundreds of attacks, seeded, and the table of what they found, for docs/reliability.md.

Run from the project's root: make torture; or python -m tests.faults.torture --quick for a try.
"""

import argparse
import datetime
import errno
import platform
import random
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from tests.faults import attacks, fuzz, fuzz_sources
from tests.faults.trial import Workshop, open_workshop, update_workshop
from tests.faults.tuning import (
    TuningWorkshop,
    open_tuning_workshop,
    tuning_killed_at_step,
    tuning_refused_at_step,
    tuning_stopped_after,
)

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- begin: made by make torture -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Amount:
    """How much of each attack."""

    steps: int  # every n-th
    every: int  # n-th of what else is gone through
    moments: int  # of each signal
    together: int
    flips: int
    fuzz: int
    forged: int


FULL = Amount(steps=3, every=1, moments=60, together=12, flips=1500, fuzz=4000, forged=2000)
QUICK = Amount(steps=40, every=20, moments=2, together=1, flips=30, fuzz=40, forged=50)

Row = tuple[str, int, str]


def rows(workshop: Workshop, amount: Amount) -> Iterator[Row]:
    """What was done, how often, and what came of it; a loss that is found ends in an error."""
    whole = "the next run completed each, equal to an undisturbed one"
    steps = range(0, workshop.steps, amount.steps)
    for step in steps:
        attacks.killed_at_step(workshop, step)
    named = f"of {workshop.steps} opens, writes, syncs, renames and removals"
    yield f"SIGKILL before one {named}", len(steps), whole

    moments = random.Random(0)
    for sent in (signal.SIGKILL, *attacks.ENDS):
        came = sum(
            attacks.stopped_after(workshop, moments.uniform(0, workshop.seconds), sent)
            for _ in range(amount.moments)
        )
        code = f"; exit code {attacks.ENDS[sent]}" if sent in attacks.ENDS else ""
        yield (
            f"{sent.name} at a random moment",
            amount.moments,
            f"{came} before the end{code}; {whole}",
        )

    for number in attacks.ERRORS:
        every = steps if number == errno.ENOSPC else steps[::3]
        for step in every:
            attacks.refused_at_step(workshop, step, number)
        name = errno.errorcode[number]
        yield (
            f"{name} at one {named}",
            len(every),
            f"one line each; {whole}",
        )

    sizes = range(600, 12_000, 600 * amount.every)
    for size in sizes:
        attacks.limited(workshop, size)
    yield "files that may not grow beyond a size", len(sizes), f"one line each; {whole}"

    disks = range(32, 200, 12 * amount.every)
    if all(attacks.filled(workshop, size) for size in disks):
        yield "disks of 32 to 200 KiB", len(disks), f"refused; with --force filled; {whole}"

    calls = range(0, 10, amount.every)
    for kind in ("network", "decoder", "memory"):
        for call in calls:
            attacks.failed_at_call(workshop, kind, call)
    said = "a batch without memory is halved; "
    yield "a network, decoding thread or batch that fails", 3 * len(calls), said + whole

    for mode in (0o555, 0o000):
        attacks.not_allowed(workshop, mode)
    yield "a cache that may not be written, or not be entered", 2, f"one line each; {whole}"

    killed = sum(attacks.together(workshop, seed) for seed in range(amount.together))
    said = f"{killed} of the processes killed; {whole}"
    yield "eight processes at once on an empty directory", amount.together, said

    read = sum(attacks.read_while_written(workshop) for _ in range(amount.together))
    said = f"{read} shards read, each equal to the undisturbed one's"
    yield "a reader beside a writer", amount.together, said

    flips = attacks.flipped(workshop, 0, count=amount.flips)
    yield (
        "bits flipped in a cache, in any file",
        flips,
        "`verify` named the file each time",
    )

    for what in (fuzz.images, fuzz.heads, fuzz.weights, fuzz.caches, fuzz.shards):
        done = what(workshop, 0, amount.fuzz)
        yield f"changed {what.__name__} opened", done, "sound, or refused in one line"
    for name, open_all in (("tar", fuzz_sources.tars), ("npz", fuzz_sources.npz_files)):
        done = open_all(0, amount.fuzz)
        yield f"changed {name} files of images read", done, "sound, or refused in one line"
    done, crashed = fuzz_sources.tables(0, amount.forged)
    said = f"sound, or refused in one line; {crashed} processes of 50 were ended by pyarrow itself"
    yield "changed Parquet files of images read", done, said
    done, crashed = fuzz.forged_shards(workshop, 0, amount.forged)
    said = f"refused or read; {crashed} processes of 50 shards each were ended by HDF5 itself"
    yield "changed shards under a valid envelope", done, said


def update_rows(workshop: Workshop, amount: Amount) -> Iterator[Row]:
    """The same of runs that update a cache whose images were changed, added and removed."""
    whole = "no shard lost, codes old or new; the next run completed each, equal to an undisturbed"
    steps = range(0, workshop.steps, amount.steps)
    for step in steps:
        attacks.killed_at_step(workshop, step)
    named = f"of {workshop.steps} opens, writes, syncs, renames and removals"
    yield f"an update: SIGKILL before one {named}", len(steps), whole

    moments = random.Random(0)
    came = sum(
        attacks.stopped_after(workshop, moments.uniform(0, workshop.seconds), signal.SIGKILL)
        for _ in range(amount.moments)
    )
    said = f"{came} before the end; {whole}"
    yield "an update: SIGKILL at a random moment", amount.moments, said

    for step in steps[::3]:
        attacks.refused_at_step(workshop, step, errno.ENOSPC)
    yield f"an update: ENOSPC at one {named}", len(steps[::3]), f"one line each; {whole}"

    killed = sum(attacks.together(workshop, seed) for seed in range(amount.together))
    said = f"{killed} of the processes killed; {whole}"
    yield "an update: eight processes at once", amount.together, said


def tuning_rows(workshop: TuningWorkshop, amount: Amount) -> Iterator[Row]:
    """The same of trainings, whose result is compared tensor for tensor."""
    whole = "result and state whole or absent; the next run ended each as an undisturbed one"
    steps = range(0, workshop.steps, amount.steps)
    for step in steps:
        tuning_killed_at_step(workshop, step)
    named = f"of {workshop.steps} opens, writes, syncs, renames and removals"
    yield f"a tuning: SIGKILL before one {named}", len(steps), whole

    moments = random.Random(0)
    for sent in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        came, again = 0, max(1, amount.moments // 10)
        for _ in range(again):
            ten = [moments.uniform(0, workshop.seconds) for _ in range(min(10, amount.moments))]
            came += tuning_stopped_after(workshop, ten, sent)
        code = f"; exit code {attacks.ENDS[sent]}" if sent in attacks.ENDS else ""
        said = f"{came} before the end{code}; {whole}"
        yield f"a tuning: {sent.name} at ten random moments", again * len(ten), said

    for step in steps[::3]:
        tuning_refused_at_step(workshop, step)
    yield f"a tuning: ENOSPC at one {named}", len(steps[::3]), f"one line each; {whole}"


def table(amount: Amount) -> str:
    """All rows, as Markdown."""
    start = time.monotonic()
    lines = ["| attack | times | outcome |", "|---|---|---|"]
    with open_workshop() as workshop, open_tuning_workshop() as maps:
        update = update_workshop(workshop)
        every = (tuning_rows(maps, amount), update_rows(update, amount), rows(workshop, amount))
        for what, times, outcome in chain(*every):
            lines.append(f"| {what} | {times} | {outcome} |")
            print(lines[-1], file=sys.stderr, flush=True)
    minutes = (time.monotonic() - start) / 60
    date = datetime.datetime.now(datetime.UTC).date()
    said = (
        f"Made by `make torture` on {date} in {minutes:.0f} minutes, {platform.machine()}, Python "
    )
    return "\n".join([f"{said}{platform.python_version()}.", "", *lines]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few of each; writes no page")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's, of damaged metadata
    made = table(QUICK if asked.quick else FULL)
    print(made)
    if not asked.quick:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        PAGE.write_text(before + BEGIN + made + END + rest.partition(END)[2], encoding="utf-8")
