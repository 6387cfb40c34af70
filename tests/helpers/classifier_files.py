"""Files of heads and tuned tails, changed by safetensors alone."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file


def rewrite(path: Path, tensors: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Change tensors and values of a file; None takes one away, as it does the digest.

    A file without a digest is one of an earlier version of this program.
    """
    with safe_open(path, framework="pt") as file:
        values = json.loads(file.metadata()["bottleneck"]) | {"sha256": None} | changes
        known = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    known |= {
        name: None if tensor is None else torch.as_tensor(tensor)
        for name, tensor in (tensors or {}).items()
    }
    text = json.dumps({name: value for name, value in values.items() if value is not None})
    kept = {name: tensor for name, tensor in known.items() if tensor is not None}
    save_file(kept, path, metadata={"bottleneck": text})
    return path
