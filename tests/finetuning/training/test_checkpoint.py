import contextlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError

from bottleneck.errors import TrainingError
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training import checkpoint
from bottleneck.finetuning.training.checkpoint import Checkpoint, remove_states
from bottleneck.finetuning.training.forward import tail_codes
from bottleneck.finetuning.training.loop import make_optimizer, train
from bottleneck.finetuning.training.module import TunedModule, start_module
from bottleneck.finetuning.training.run import TrainingProgress, TrainingRun
from bottleneck.runtime.process.shutdown import StopRequested, clear_stop_request, request_stop
from tests.helpers.tails import a_tail, examples, on_cpu

SOME, KEPT_BACK = examples(40), examples(12, seed=1)


class Killed(BaseException):
    """Not an error that anyone would catch."""


def a_module(options: TuneOptions) -> TunedModule:
    tail = a_tail()
    return start_module(tail, tail_codes(tail, SOME, options), options)


def training(
    options: TuneOptions,
    folder: Path | None,
    *,
    kill_at: int = 0,
    lr: float = 0.01,
    epochs: int = 4,
    tied: bool = False,
) -> tuple[TunedModule, TrainingRun]:
    """Train from the start, with dropout, perhaps a shared parameter; be killed at a step."""
    tail = a_tail(dropout=0.3, inner=0.3)
    if tied:
        tail.conv2.bias = tail.bn.bias
    module = start_module(tail, tail_codes(tail, SOME, options), options)
    steps = 0

    def on_progress(_progress: TrainingProgress) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            raise Killed

    run = train(
        module,
        SOME,
        options,
        lr=lr,
        epochs=epochs,
        kept_back=KEPT_BACK,
        resume=folder,
        on_progress=on_progress,
    )
    return module, run


@pytest.mark.parametrize("kill_at", [3, 5, 13])  # of five steps an epoch
@pytest.mark.parametrize(
    "options", [{}, {"optimizer": "sgd"}, {"batch_norm": "train", "init": "mlp", "hidden": 3}]
)
def test_a_training_that_was_killed_ends_as_if_it_had_not_been(
    options: dict[str, Any], kill_at: int, tmp_path: Path
) -> None:
    chosen = on_cpu(**options)
    expected, undisturbed = training(chosen, None)
    with pytest.raises(Killed):
        training(chosen, tmp_path, kill_at=kill_at)
    torch.manual_seed(99)  # of another process
    module, run = training(chosen, tmp_path)
    assert run.curves == undisturbed.curves
    for name, value in module.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name]), name


def test_layers_that_share_a_parameter_still_do_when_training_goes_on(tmp_path: Path) -> None:
    expected, _ = training(on_cpu(), None, tied=True)
    with pytest.raises(Killed):
        training(on_cpu(), tmp_path, kill_at=13, tied=True)
    module, _ = training(on_cpu(), tmp_path, tied=True)
    first, second = map(module.tail.get_parameter, ("conv2.bias", "bn.bias"))
    assert first is second
    for name, value in module.state_dict().items():
        assert torch.equal(value, expected.state_dict()[name]), name


def test_a_training_that_has_ended_is_not_run_again(tmp_path: Path) -> None:
    options = on_cpu()
    expected, first = training(options, tmp_path)
    module, again = training(options, tmp_path, kill_at=1)
    assert again.curves == first.curves
    assert torch.equal(module.last.weight, expected.last.weight)
    assert not module.training


def test_no_other_training_is_continued(tmp_path: Path) -> None:
    training(on_cpu(), tmp_path)
    for options, lr, epochs in [
        (on_cpu(), 0.01, 3),
        (on_cpu(seed=1), 0.01, 4),
        (on_cpu(patience=1), 0.01, 4),  # it may have stopped before
        (on_cpu(), 0.02, 4),
    ]:
        with pytest.raises(Killed):
            training(options, tmp_path, kill_at=1, lr=lr, epochs=epochs)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_training_is_another_with_other_images_kept_back(tmp_path: Path) -> None:
    relabelled = replace(KEPT_BACK, targets=KEPT_BACK.targets[::-1].copy())
    options = on_cpu()
    module = a_module(options)
    paths = {
        Checkpoint.of(
            tmp_path,
            module=module,
            training=SOME,
            kept_back=kept_back,
            options=options,
            lr=0.01,
            epochs=4,
        ).path
        for kept_back in (None, KEPT_BACK, relabelled, examples(13, seed=1))
    }
    assert len(paths) == 4


def test_weights_in_any_order_of_memory_come_back_as_they_were(tmp_path: Path) -> None:
    options = on_cpu()
    module = a_module(options).to(memory_format=torch.channels_last)
    optimizer = make_optimizer(module, options, 0.01)
    saved = Checkpoint(tmp_path / "a.safetensors")
    expected = {name: value.clone() for name, value in module.state_dict().items()}
    saved.save(module, optimizer, [])
    for parameter in module.parameters():
        parameter.data.zero_()
    assert saved.load(module, optimizer) == []
    for name, value in module.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("damage", ["end", "tensor", "curves", "none of them"])
def test_a_damaged_state_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    training(on_cpu(), tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    changed = {
        "end": whole[:-50],
        "tensor": whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:],
        "curves": whole.replace(b'\\"epoch\\": 2', b'\\"epoch\\": 3'),
        "none of them": b"",
    }[damage]
    assert changed != whole
    path.write_bytes(changed)
    with pytest.raises(TrainingError, match=f"{path.name} is not the state of this training"):
        training(on_cpu(), tmp_path)


@pytest.mark.parametrize("own", [(), ("ants.jpg",), ("ants.jpg", f"{'1' * 32}/bees.jpg")])
def test_states_are_removed_and_files_of_the_user_stay(
    own: tuple[str, ...], tmp_path: Path
) -> None:
    folder, of_images = tmp_path / "photos.training", "0" * 32
    training(on_cpu(), folder / of_images, epochs=1)
    (folder / of_images / f".{of_images}.safetensors.host.7.tmp~").touch()  # of a killed run
    for name in own:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    remove_states(folder)
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert {str(path.relative_to(folder)) for path in left} == set(own)
    assert folder.exists() == bool(own)
    assert not (folder / of_images).exists()


def test_a_stop_while_a_state_is_read_is_no_damage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A stop raised within safetensors comes out of it as an error of its own."""
    training(on_cpu(), tmp_path)

    def stopped(*_: Any, **__: Any) -> None:
        with contextlib.suppress(StopRequested):
            request_stop()
        raise SafetensorError("StopRequested")

    monkeypatch.setattr(checkpoint, "safe_open", stopped)
    try:
        with pytest.raises(StopRequested):
            training(on_cpu(), tmp_path)
    finally:
        clear_stop_request()
