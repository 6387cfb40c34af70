"""Options of an extraction by their names alone, for tests."""

import dataclasses
from typing import Any

from bottleneck.extraction.options import (
    ComputeOptions,
    RunOptions,
    StorageOptions,
    ViewOptions,
)
from bottleneck.runtime.schedulers.array_task import ArrayTask

_KINDS = {
    "storage": StorageOptions,
    "compute": ComputeOptions,
    "run": RunOptions,
    "views": ViewOptions,
}


def grouped(options: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of `extract`, `plan` or `repair` with options put into their classes."""
    rest = dict(options)
    if isinstance(rest.get("task"), tuple):
        rest["task"] = ArrayTask(*rest["task"])
    groups = {}
    for name, kind in _KINDS.items():
        fields = [field.name for field in dataclasses.fields(kind) if field.name in rest]
        if fields:
            groups[name] = kind(**{field: rest.pop(field) for field in fields})
    return rest | groups
