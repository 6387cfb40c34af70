"""The state of a training after an epoch, in a file that is whole or absent."""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from bottleneck.errors import TrainingError
from bottleneck.finetuning.loading.batches import Examples
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training.parallel import of_first_process, processes
from bottleneck.runtime import atomic_write, raise_if_stop_requested, sha256

FORMAT = "bottleneck-training-2"
_DIGEST = "sha256"
_NAME = "[0-9a-f]" * 32  # of a training's file, and of the folder of its images


@dataclass(frozen=True)
class Checkpoint:
    """The file of one training: module, optimizer and curves after its last epoch.

    Attributes
    ----------
    path : Path
        Its name is the digest of everything that decides the training, so that no other training is
        ever continued.
    """

    path: Path

    @classmethod
    def of(
        cls,
        folder: Path,
        *,
        module: nn.Module,
        training: Examples,
        kept_back: Examples | None,
        options: TuneOptions,
        lr: float,
        epochs: int,
    ) -> Self:
        """Return the checkpoint of a training that has not begun.

        Parameters
        ----------
        folder : Path
        module : nn.Module
            As it starts.
        training : Examples
        kept_back : Examples or None
        options : TuneOptions
        lr : float
        epochs : int
            Of the learning rate's schedule.
        """
        # Of the options only the device says where, and not what is trained.
        recipe = asdict(replace(options, device="auto"))
        recipe |= {"lr": lr, "epochs": epochs, "processes": processes()}
        parts = [json.dumps(recipe, sort_keys=True).encode()]
        for examples in [training, kept_back or training.take(training.rows[:0])]:
            parts += [examples.rows.tobytes(), examples.targets.tobytes()]
        parts += [_bytes(tensor) for tensor in module.state_dict().values()]
        # The others start from the module of the first process; what they have differs by rounding.
        return cls(of_first_process(folder / f"{sha256(*parts)[:32]}.safetensors"))

    def save(
        self, module: nn.Module, optimizer: Optimizer, curves: Sequence[dict[str, Any]]
    ) -> None:
        """Write the state after an epoch.

        Raises
        ------
        OSError
            The file could not be written.
        """
        tensors = {f"module.{name}": value for name, value in module.state_dict().items()}
        for number, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                if value is not None:
                    tensors[f"optimizer.{number}.{name}"] = torch.as_tensor(value)
        # Copies: safetensors refuses tensors that share memory, as the weights of tied layers do.
        stored = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in tensors.items()
        }
        text = json.dumps(list(curves))
        with atomic_write(self.path) as temporary:
            temporary.write_bytes(save(stored, {FORMAT: text, _DIGEST: _digest(text, stored)}))

    def load(self, module: nn.Module, optimizer: Optimizer) -> list[dict[str, Any]]:
        """Bring a module and its optimizer to the state that was saved.

        Returns
        -------
        list of dict
            The curves; empty if there is no such file.

        Raises
        ------
        TrainingError
            The file is damaged.
        """
        if not self.path.exists():
            return []
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata[_DIGEST] != _digest(metadata[FORMAT], tensors):
                raise ValueError("its content is not that which was saved")
            curves: list[dict[str, Any]] = json.loads(metadata[FORMAT])
            module.load_state_dict(tensors_under("module.", tensors))
            states: dict[int, dict[str, Tensor]] = {}
            for name, value in tensors_under("optimizer.", tensors).items():
                number, _, what = name.partition(".")
                states.setdefault(int(number), {})[what] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise_if_stop_requested()  # safetensors gives what interrupts it as an error of its own
            raise TrainingError(
                f"{self.path} is not the state of this training", hint="remove it to begin again"
            ) from error
        return curves


def remove_states(folder: Path) -> None:
    """Remove the states of all trainings from a folder, and the folder if nothing else is in it.

    Parameters
    ----------
    folder : Path
        That `bottleneck.tune` was given to resume from. It may be a user's own, with other files.
    """
    for place in [*folder.glob(_NAME), folder]:
        with contextlib.suppress(OSError):  # what stays is in nobody's way
            for state in place.glob(f"*{_NAME}.safetensors*"):  # or its temporary file
                state.unlink()
            place.rmdir()


def tensors_under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by their names without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _digest(curves: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of all that a file says: safetensors itself has no checksum."""
    parts = [curves.encode()]
    for name, tensor in sorted(tensors.items()):
        parts += [f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), _bytes(tensor)]
    return sha256(*parts)


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
