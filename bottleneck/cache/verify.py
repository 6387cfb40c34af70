"""Verify a cache: compare every byte of its files with the digests that were written."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from bottleneck.cache.directory import HAS_AS_REMOVED, CacheDirectory
from bottleneck.cache.format.envelope import verify_envelope
from bottleneck.cache.format.paths import files_in, list_foreign
from bottleneck.cache.format.series import Series
from bottleneck.cache.format.shard import ShardHeader, open_shard
from bottleneck.cache.index import FILE_TYPE as INDEX
from bottleneck.cache.index import rejected_text
from bottleneck.cache.recovery import RecoveredCache, recover_cache
from bottleneck.cache.store import CacheLike, cache_path
from bottleneck.errors import ShardError
from bottleneck.runtime import PreformattedText, escape_unprintable, holds_text

_MISSING = "missing"
_OUTGROWN = "intact, and lacks images that were added after it was made"


@dataclass(frozen=True)
class Problem:
    """A file that fails verification.

    Attributes
    ----------
    file : str
        Path relative to the cache.
    why : str
        What is wrong with it.
    layer : str
        Layer whose folder the file is in; empty for a file of the entire cache.
    shard : int or None
        Number of the shard; None for a file that is not a shard of this cache.
    view : int
        View whose folder the file is in; 0 is the images themselves.
    """

    file: str
    why: str
    layer: str
    shard: int | None
    view: int = 0

    @property
    def is_missing_shard(self) -> bool:
        """Return whether a shard was not extracted yet, or not with all present images."""
        return self.shard is not None and self.why in (_MISSING, _OUTGROWN, HAS_AS_REMOVED)

    def __str__(self) -> str:
        return f"{escape_unprintable(self.file)}: {self.why}"


@dataclass(frozen=True)
class VerificationReport(Sequence[Problem], PreformattedText):
    """Problems of a cache, a sequence of `Problem`; empty if every byte is as it was written.

    Its text has a line for each damaged file, and one for all missing shards of a layer.

    Attributes
    ----------
    path : Path
        The cache.
    problems : tuple of Problem
    shard_count : int
        Shards that each layer of the cache has when it is finished.

    Examples
    --------
    >>> import bottleneck as bn  # doctest: +SKIP
    >>> report = bn.verify("photos.cache")  # doctest: +SKIP
    >>> report.ok, [problem.file for problem in report]  # doctest: +SKIP
    (True, [])
    """

    path: Path
    problems: tuple[Problem, ...]
    shard_count: int = 0

    @property
    def ok(self) -> bool:
        """Return whether there is no problem."""
        return not self.problems

    @overload
    def __getitem__(self, index: int) -> Problem: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Problem, ...]: ...
    def __getitem__(self, index: int | slice) -> Problem | tuple[Problem, ...]:
        return self.problems[index]

    def __len__(self) -> int:
        return len(self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, which can be written as JSON."""
        return {"ok": self.ok, "bad": [{"file": item.file, "why": item.why} for item in self]}

    def __str__(self) -> str:
        if self.ok:
            return f"ok: every byte of {self.path} is what was written"
        missing = Counter(Series(p.layer, p.view) for p in self if p.is_missing_shard)
        lines = [f"bad: {problem}" for problem in self if not problem.is_missing_shard]
        lines += [
            f"missing: {count} of {self.shard_count} shards of {escape_unprintable(str(series))}: "
            "run the same `bottleneck.extract` again"
            for series, count in missing.items()
        ]
        return "\n".join(lines)


def verify(cache: CacheLike) -> VerificationReport:
    """Find files of a cache that are absent, damaged or foreign.

    Every byte of each shard is compared with its digest, and its rows and paths with
    ``images.csv``. Where ``spec.json`` or ``images.csv`` is damaged, their content is recovered
    from the shards, which are then compared with each other.

    Parameters
    ----------
    cache : str, path, Cache or object with an attribute ``cache``

    Returns
    -------
    VerificationReport

    Raises
    ------
    CacheError
        There is no cache at the path, or no shard is intact from which it could be recovered.

    Examples
    --------
    >>> print(verify("tests/data/before/cache"))
    ok: every byte of tests/data/before/cache is what was written
    """
    return find_problems(recover_cache(cache_path(cache)))


def find_problems(recovered: RecoveredCache) -> VerificationReport:
    """Find files of an open cache that are absent, damaged or foreign.

    Parameters
    ----------
    recovered : RecoveredCache
        The opened cache, with the damage to its two small files.
    """
    cache = recovered.cache
    verified = [_verify_series(cache, series) for series in cache.series]
    problems = [
        *(Problem(name, why, "", None) for name, why in recovered.lost.items()),
        *_verify_index(cache),
        *(_foreign_folder(folder) for folder in list_foreign(cache.path)),
        *(problem for found, _ in verified for problem in found),
    ]
    if not problems:  # with other problems, its correct content is unknown
        problems += _verify_rejected(cache, [headers for _, headers in verified])
    return VerificationReport(cache.path, tuple(problems), cache.shard_count)


def _foreign_folder(folder: Path) -> Problem:
    return Problem(
        f"codes/{folder.name}", "without a shard of a layer: move it elsewhere", "", None
    )


def _verify_index(cache: CacheDirectory) -> Iterator[Problem]:
    path = cache.path / "codes.h5"
    if path.exists():
        try:
            verify_envelope(path, INDEX)
        except ShardError as error:
            yield _derived_problem(path, _without_path(path, error))


def _verify_rejected(
    cache: CacheDirectory, headers: Sequence[dict[int, ShardHeader]]
) -> Iterator[Problem]:
    """Compare ``rejected.csv``, which has no digest, with the headers of all shards."""
    path, reasons = cache.path / "rejected.csv", cache.rejected_in(headers)
    if path.exists() and not holds_text(path, rejected_text(cache.images, reasons)):
        yield _derived_problem(path, "its lines are not what the shards and images.csv say")


def _derived_problem(path: Path, why: str) -> Problem:
    return Problem(path.name, f"{why}: any extract makes it again", "", None)


def _verify_series(
    cache: CacheDirectory, series: Series
) -> tuple[list[Problem], dict[int, ShardHeader]]:
    """Return what is wrong in the folder of a series, and the headers of its sound shards."""
    expected = {cache.shard_path(series, shard): shard for shard in range(cache.shard_count)}
    found: list[tuple[Path, str, int | None]] = [
        (path, "not a shard of the plan: remove it by hand", None)
        for path in files_in(cache.folder(series))
        if path not in expected
    ]
    headers: dict[int, ShardHeader] = {}
    for path, shard in expected.items():
        try:
            headers[shard] = _verify_shard(cache, series, shard)
        except ShardError as error:
            found.append((path, _without_path(path, error), shard))
    problems = [
        Problem(path.relative_to(cache.path).as_posix(), why, series.layer, number, series.view)
        for path, why, number in found
    ]
    return problems, headers


def _verify_shard(cache: CacheDirectory, series: Series, shard: int) -> ShardHeader:
    path = cache.shard_path(series, shard)
    if not path.exists():
        raise ShardError(f"{path} is {_MISSING}")
    with open_shard(path) as opened:
        end = opened.header.rows.stop
        outgrown = end < cache.rows(shard).stop
        (_first_images(cache, end) if outgrown else cache).verify_open(series, shard, opened)
        opened.metadata()  # all columns, and the shape and type of the codes
        if outgrown:
            raise ShardError(f"{path} is {_OUTGROWN}")
        return opened.header


def _first_images(cache: CacheDirectory, count: int) -> CacheDirectory:
    """Return a cache as it was before images were added."""
    return CacheDirectory(cache.path, cache.manifest, cache.images.take(np.arange(count)))


def _without_path(path: Path, error: ShardError) -> str:
    return str(error).removeprefix(f"{path}").lstrip(": ").removeprefix("is ")
