"""The loop, against a plain one that is written out here."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from bottleneck.finetuning.loading.batches import Batch, Examples
from bottleneck.finetuning.options import TuneOptions
from bottleneck.finetuning.training.forward import logits, tail_codes
from bottleneck.finetuning.training.loop import _has_stopped, make_optimizer, set_training, train
from bottleneck.finetuning.training.module import TunedModule, start_module
from bottleneck.finetuning.training.run import EpochScores, TrainingProgress
from bottleneck.finetuning.training.schedule import rate_factor
from tests.helpers.tails import a_tail, examples, on_cpu


def a_module(some: Examples, options: TuneOptions, **tail: Any) -> TunedModule:
    network = a_tail(**tail)
    return start_module(network, tail_codes(network, some, options), options)


def plain_training(
    module: nn.Module, some: Examples, *, lr: float, epochs: int, decay: float
) -> list[float]:
    """AdamW over the maps in the order that the batches say, each step written out."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=lr,
    )
    maps, targets = torch.from_numpy(some.batches.maps[0]), torch.from_numpy(some.targets)  # type: ignore[attr-defined]
    losses, steps = [], -(-len(some) // 8)
    module.eval()  # no dropout here, and batch norm keeps its statistics
    for epoch in range(epochs):
        order = np.random.default_rng((0, epoch)).permutation(len(some))
        total = 0.0
        for step, index in enumerate(np.array_split(order, steps)):
            for group in optimizer.param_groups:
                group["lr"] = lr * rate_factor((epoch + step / steps) / epochs)
            loss = F.cross_entropy(module(maps[index]), targets[index])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norm = torch.sqrt(sum((p.grad**2).sum() for p in module.parameters()))  # type: ignore[arg-type, misc, operator]
            for parameter in module.parameters():
                assert parameter.grad is not None
                parameter.grad *= min(1.0, 1.0 / float(norm + 1e-6))
            optimizer.step()
            total += float(loss.detach()) * len(index)
        losses.append(total / len(some))
    return losses


def test_training_is_that_which_is_written_out_here() -> None:
    some, options = examples(48), on_cpu()
    module = a_module(some, options)
    other = copy.deepcopy(module)
    run = train(module, some, options, lr=0.01, epochs=3)
    losses = plain_training(other, some, lr=0.01, epochs=3, decay=0.05)
    assert [scores.loss for scores in run.curves[1:]] == pytest.approx(losses, rel=1e-5, abs=1e-6)
    assert not run.diverged
    for one, two in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_losses_are_summed_in_float32_whatever_a_process_creates_by_default() -> None:
    some, options = examples(48), on_cpu()
    module = a_module(some, options)
    losses = plain_training(copy.deepcopy(module), some, lr=0.01, epochs=1, decay=0.05)
    torch.set_default_dtype(torch.bfloat16)
    try:
        run = train(module, some, options, lr=0.01, epochs=1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert [scores.loss for scores in run.curves[1:]] == pytest.approx(losses, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("fails", ["forward", "backward"])
def test_a_batch_that_does_not_fit_is_divided_and_its_step_is_the_same(fails: str) -> None:
    some, options = examples(48), on_cpu()
    module = a_module(some, options)
    other, sizes = copy.deepcopy(module), []

    def limited(_: Any, args: tuple[Tensor]) -> None:
        if module.training:
            sizes.append(len(args[0]))
            if fails == "forward" and sizes[-1] > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")

    def full(gradient: Tensor) -> None:
        if len(sizes) in (1, 3):  # the second time, half of the gradients are known
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    if fails == "backward":
        next(module.output.parameters()).register_hook(full)  # type: ignore[no-untyped-call]
    with module.register_forward_pre_hook(limited):
        run = train(module, some, options, lr=0.01, epochs=3)
    losses = plain_training(other, some, lr=0.01, epochs=3, decay=0.05)
    assert [scores.loss for scores in run.curves[1:]] == pytest.approx(losses, rel=1e-5, abs=1e-6)
    for one, two in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-5)
    assert run.max_batch_size == 2
    assert sizes[:6] == ([8, 4, 2, 2, 2, 2] if fails == "forward" else [8, 4, 4, 2, 2, 2])


@pytest.mark.parametrize("case", ["batch norm", "one image"])
def test_batches_that_cannot_be_divided_raise_the_memory_error(case: str) -> None:
    options = on_cpu(batch_norm="train") if case == "batch norm" else on_cpu()
    module = a_module(examples(48), options)

    def full(*_: Any) -> None:
        if module.training:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with module.register_forward_pre_hook(full), pytest.raises(torch.OutOfMemoryError):
        train(module, examples(48), options, lr=0.01, epochs=3)


class Recomputed:
    """Batches of maps that a frozen network computes anew whenever they are needed."""

    def __init__(self, frozen: nn.Module, images: Any) -> None:
        self.frozen, self.images = frozen, images
        self.views = 1

    def _through(self, batch: Batch) -> Batch:
        with torch.no_grad():
            return self.frozen(batch[0]), batch[1]

    def shuffled(self, rows: NDArray[np.int64], **options: Any) -> Any:
        return map(self._through, self.images.shuffled(rows, **options))

    def ordered(self, rows: NDArray[np.int64], **options: Any) -> Any:
        return map(self._through, self.images.ordered(rows, **options))


def test_training_on_kept_maps_is_training_with_the_frozen_part_run_again() -> None:
    images = examples(48)
    frozen = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()).eval().requires_grad_(False)
    maps = frozen(torch.from_numpy(images.batches.maps[0])).numpy()  # type: ignore[attr-defined]
    kept = replace(images, batches=replace(images.batches, maps=[maps]))  # type: ignore[type-var]
    again = replace(images, batches=Recomputed(frozen, images.batches))
    before = copy.deepcopy(frozen.state_dict())
    options = on_cpu(epochs=3)
    runs = [
        train(a_module(some, options), some, options, lr=0.02, epochs=3) for some in (kept, again)
    ]
    losses = [[scores.loss for scores in run.curves[1:]] for run in runs]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] > 1.01 * losses[0][-1]  # type: ignore[operator]
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())


@pytest.mark.parametrize("batch_norm", ["keep", "train"])
def test_batch_norm_has_its_statistics_unless_it_is_to_learn_others(batch_norm: str) -> None:
    some, options = examples(), on_cpu(epochs=1, batch_norm=batch_norm)
    module = a_module(some, options)
    norm: Any = module.get_submodule("tail.bn")
    before = norm.running_mean.clone(), norm.running_var.clone()
    weight = norm.weight.detach().clone()
    train(module, some, options, lr=0.01, epochs=1)
    assert not torch.equal(norm.weight, weight)  # it is trained in both modes
    same = [torch.equal(a, b) for a, b in zip(before, (norm.running_mean, norm.running_var))]  # noqa: B905
    assert same == [batch_norm == "keep"] * 2
    assert int(norm.num_batches_tracked) == (0 if batch_norm == "keep" else 6)


def test_only_norms_stay_in_eval_mode() -> None:
    module = TunedModule(a_tail(inner=0.5), classes=3)
    inner, norm = module.get_submodule("tail.inner"), module.get_submodule("tail.bn")
    set_training(module, "keep")
    assert inner.training
    assert module.dropout.training
    assert not norm.training
    set_training(module, "train")
    assert norm.training


def test_new_weights_have_ten_times_the_rate_and_vectors_no_decay() -> None:
    module = TunedModule(a_tail(), classes=3, hidden=4)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    for init, factor in [("mlp", 10), ("fresh", 10), ("head", 1)]:
        optimizer = make_optimizer(module, on_cpu(init=init), 0.01)
        found = {
            names[id(parameter)]: (group["lr"], group["weight_decay"])
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        assert found.keys() == set(names.values())
        assert found["tail.conv1.weight"] == (0.01, 0.05)
        assert found["tail.bn.weight"] == found["tail.conv2.bias"] == (0.01, 0.0)
        assert found["output.2.weight"] == (pytest.approx(0.01 * factor), 0.05)
        assert found["output.0.bias"] == (pytest.approx(0.01 * factor), 0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "sgd"},
        {"init": "mlp", "hidden": 16},
        {"precision": "bfloat16"},
        {"batch_norm": "train"},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"class_weight": "balanced"}, marks=pytest.mark.slow),
        pytest.param({"init": "head"}, marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_training_learns_what_the_frozen_codes_do_not_tell(
    options: dict[str, Any],
) -> None:
    some, new = examples(60), examples(60, seed=1)
    # From fresh weights, which know nothing yet: the fitted head is right on nine of ten as it is.
    chosen = on_cpu(**{"epochs": 20, "init": "fresh"} | options)
    module = a_module(some, chosen, dropout=0.1)
    lr = {"sgd": 0.2}.get(chosen.optimizer, 0.02)
    run = train(module, some, chosen, lr=lr, epochs=20)
    assert not run.diverged
    assert np.mean(logits(module, new, chosen).argmax(1) == new.targets) > 0.9
    assert not module.training


def test_several_labels_an_image() -> None:
    targets = np.random.default_rng(0).random((90, 3)) < 0.5
    some, options = examples(90, targets=targets), on_cpu(epochs=20)
    module = a_module(some, options)
    before = ((logits(module, some, options) > 0) == targets).mean()
    train(module, some, options, lr=0.02, epochs=20)
    assert ((logits(module, some, options) > 0) == targets).mean() > max(0.85, before)


def test_each_image_is_seen_in_each_view() -> None:
    some = examples(12, views=3)
    seen: list[Tensor] = []

    class Watching(TunedModule):
        def forward(self, maps: Tensor) -> Tensor:
            seen.extend(maps if self.training else ())
            return super().forward(maps)

    module = Watching(a_tail(), classes=3)
    train(module, some, on_cpu(epochs=3), lr=1e-3, epochs=3)
    expected = np.concatenate(some.batches.maps)  # type: ignore[attr-defined]
    assert sorted(float(maps.sum()) for maps in seen) == pytest.approx(
        sorted(float(maps.sum()) for maps in expected)
    )


@pytest.mark.parametrize(("optimizer", "lr"), [("sgd", 1e4), ("sgd", float("1e38"))])
def test_a_training_that_diverges_says_so(optimizer: str, lr: float) -> None:
    some, options = examples(), on_cpu(epochs=5, optimizer=optimizer)
    run = train(a_module(some, options), some, options, lr=lr, epochs=5, kept_back=some)
    assert run.diverged
    assert len(run.curves) < 6
    assert run.to_dict()["diverged"] is True


def test_one_value_that_is_no_number_makes_an_epoch_the_worst() -> None:
    some, options, kept_back = examples(30), on_cpu(), examples(12, seed=1)
    module = a_module(some, options)

    def score() -> float | None:
        run = train(module, some, options, lr=0.01, epochs=0, kept_back=kept_back)
        return run.best.kept_back_score

    assert score()
    kept_back.batches.maps[0][5] = np.nan  # type: ignore[attr-defined]
    assert score() == 0.0


def test_with_patience_training_stops_when_the_images_kept_back_get_no_better() -> None:
    some, options = examples(30), on_cpu(epochs=30, patience=2)
    wrong = replace(examples(12, seed=2), targets=(np.arange(12) + 1) % 3)  # it can only get worse
    run = train(a_module(some, options), some, options, lr=0.03, epochs=30, kept_back=wrong)
    best = max(run.curves[1:], key=lambda scores: scores.goodness)
    assert run.curves[-1].epoch == best.epoch + 2 < 30
    assert run.best == max(run.curves, key=lambda scores: scores.goodness)


def test_without_patience_all_epochs_are_trained() -> None:
    some, options = examples(30), on_cpu(epochs=6)
    wrong = replace(examples(12, seed=2), targets=(np.arange(12) + 1) % 3)
    run = train(a_module(some, options), some, options, lr=0.03, epochs=6, kept_back=wrong)
    assert run.curves[-1].epoch == 6


@pytest.mark.parametrize("init", ["fresh", "mlp"])
def test_a_start_that_is_no_classifier_is_never_the_best_epoch(init: str) -> None:
    some, options = examples(30), on_cpu(epochs=2, init=init)
    wrong = replace(examples(12, seed=2), targets=np.zeros(12, dtype=np.int64))
    module = a_module(some, options)
    assert (logits(module, wrong, options).argmax(1) == wrong.targets).all()  # of zeros the first
    run = train(module, some, options, lr=0.03, epochs=2, kept_back=wrong)
    assert run.curves[0].kept_back_score is None
    assert run.best.epoch > 0


def test_the_start_does_not_count_for_patience() -> None:
    scores = [EpochScores(0, None, 0.1, 0.9)]
    scores += [EpochScores(i, 1.0, 1.0 - i / 10, 0.1 * i) for i in range(1, 5)]
    assert not _has_stopped(scores, 2)  # each epoch is better than the one before
    assert _has_stopped([*scores, EpochScores(5, 1.0, 1.0, 0.1), EpochScores(6, 1.0, 1.0, 0.1)], 2)
    assert not _has_stopped(scores[:1], 1)


def test_no_epochs_leave_the_start() -> None:
    some, options = examples(), on_cpu()
    module = a_module(some, options)
    before = copy.deepcopy(module.state_dict())
    run = train(module, some, options, lr=1.0, epochs=0)
    assert len(run.curves) == 1
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_progress_counts_the_images_of_each_epoch() -> None:
    some, options, calls = examples(20), on_cpu(epochs=3), list[TrainingProgress]()
    run = train(a_module(some, options), some, options, lr=0.01, epochs=2, on_progress=calls.append)
    start, *steps = calls
    assert (start.epoch, start.done, start.kept_back) == (1, 0, 0)
    assert [(call.epoch, call.done) for call in steps] == [
        (epoch, 20 * (epoch - 1) + done) for epoch in (1, 2) for done in (6, 13, 20)
    ]
    assert all((call.lr, call.epochs, call.images) == (0.01, 2, 20) for call in calls)
    assert {(call.total, call.unit) for call in calls} == {(40, "images")}
    assert [call.scores for call in steps[::3]] == list(run.curves[:2])


@pytest.mark.gpu
@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
@pytest.mark.parametrize("batch_norm", ["keep", "train"])
def test_a_gpu_trains_as_the_cpu_does(
    precision: str, batch_norm: str, gpu: torch.device, tmp_path: Path
) -> None:
    some = examples(40)
    options = on_cpu(epochs=3, batch_norm=batch_norm)
    module = a_module(some, options)
    expected = train(copy.deepcopy(module), some, options, lr=0.01, epochs=3, kept_back=some)
    on_gpu = replace(options, device=str(gpu), precision=precision)
    for _ in range(2):  # the second one reads the state that the first one has left
        found = train(
            copy.deepcopy(module), some, on_gpu, lr=0.01, epochs=3, kept_back=some, resume=tmp_path
        )
        for ours, theirs in zip(found.curves[1:], expected.curves[1:], strict=True):
            assert ours.loss == pytest.approx(theirs.loss, rel=0.05)
            assert ours.kept_back_loss == pytest.approx(theirs.kept_back_loss, rel=0.05)
