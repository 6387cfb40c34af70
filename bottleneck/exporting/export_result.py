"""The result of `export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bottleneck.prediction import FLOAT, ExportMetadata
from bottleneck.runtime import PreformattedText, format_size


@dataclass(frozen=True)
class ExportResult(PreformattedText):
    """What was exported, and how near it is to the classifier itself.

    Attributes
    ----------
    path : Path
    format : str
        ``"ONNX"``, ``"TorchScript"`` or ``"scikit-learn"``.
    size : int
        Bytes of the file.
    difference : float
        Largest absolute difference of a score from `bottleneck.predict` in float32; of
        scikit-learn, from the head.
    checked : str
        What that was measured on.
    scores : str
        ``"probabilities"`` or ``"margins"``.
    metadata : ExportMetadata or None
        What the file says of itself; None for scikit-learn.
    notes : tuple of str
        What a user may not expect, a sentence each.

    Examples
    --------
    >>> result = ExportResult(
    ...     Path("head.skops"), "scikit-learn", 4200, 2e-16, "64 generated codes",
    ...     "probabilities", None
    ... )
    >>> print(result)
    scikit-learn head.skops: 4.2 kB
    codes → probabilities, which differ by at most 2e-16 on 64 generated codes
    """

    path: Path
    format: str
    size: int
    difference: float
    checked: str
    scores: str
    metadata: ExportMetadata | None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        opset = self.metadata.opset if self.metadata else None
        version = f", opset {opset}" if opset else ""
        lines = [f"{self.format} {self.path}: {format_size(self.size)}{version}"]
        agreement = (
            f"{self.scores}, which differ by at most {self.difference:.2g} on {self.checked}"
        )
        lines.append(f"{self._input} → {agreement}")
        return "\n".join([*lines, *self.notes])

    @property
    def _input(self) -> str:
        if self.metadata is None:
            return "codes"
        shape = " × ".join(map(str, self.metadata.shape))
        kind = "float32, 0…1" if self.metadata.input == FLOAT else "uint8"
        return f"{kind}, {shape}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        metadata = self.metadata
        return {
            "path": str(self.path),
            "format": self.format,
            "bytes": self.size,
            "difference": self.difference,
            "checked": self.checked,
            "scores": self.scores,
            "opset": metadata.opset if metadata else None,
            "input": metadata.input if metadata else "codes",
            "shape": list(metadata.shape) if metadata else None,
            "notes": list(self.notes),
        }
