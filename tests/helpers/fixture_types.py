"""Types of the fixtures that are functions."""

from collections.abc import Callable

from click.testing import Result

from bottleneck.extraction.result import ExtractionResult

Extract = Callable[..., ExtractionResult]
Run = Callable[..., Result]
