"""The benchmarks run at toy sizes; those of fitting judge by a measure of their own that holds."""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from benchmarks import startup
from benchmarks.extraction import (
    beside_another,
    compression,
    openvino_end_to_end,
    scale,
    sources,
)
from benchmarks.extraction import report as extraction
from benchmarks.extraction.stages import seconds_each
from benchmarks.finetuning import epochs as tail_epochs
from benchmarks.finetuning import peak_memory as tuning_memory
from benchmarks.fitting import beside_busy, epochs, search, vs_sklearn
from benchmarks.fitting import report as fitting
from benchmarks.gpu import decoding as gpu_decoding
from benchmarks.gpu import extraction as gpu_extraction
from benchmarks.gpu import fitting as gpu
from benchmarks.gpu import report as all_on_gpu
from benchmarks.gpu import tuning as gpu_tuning
from benchmarks.helpers.interleave import interleave, ratio
from benchmarks.helpers.isolated_process import run_isolated
from benchmarks.helpers.synthetic_codes import cached_codes, synthetic_codes
from benchmarks.helpers.synthetic_images import photographs, repeat, write_jpegs
from benchmarks.helpers.time_limit import within
from benchmarks.profiles import QUICK_EXTRACTION, QUICK_FITTING, ExtractionProfile
from bottleneck.backbones.backbone import load_backbone
from bottleneck.cache.store import open_cache
from bottleneck.cli import main
from bottleneck.linear.classifiers import CLASSIFIERS
from bottleneck.linear.estimators import LinearSVM, SoftmaxRegression
from bottleneck.linear.matrix import ArrayMatrix
from tests.helpers.datasets import written_cache
from tests.helpers.networks import PLAIN
from tests.helpers.problems import fit_path


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times do not matter in these tests."""
    monkeypatch.setattr(vs_sklearn, "_PAUSE", 0.0)
    monkeypatch.setattr(vs_sklearn, "_MANY_ROUNDS", 1)


def test_cached_codes_are_those_of_the_splits_in_whatever_order(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float32)[:, None]
    split = ["test" if row % 3 == 0 else "train" for row in range(12)]
    cache = open_cache(written_cache(tmp_path, rows, list("ab") * 6, split=split))
    found = cached_codes(cache, cache.layers[0], "rows", "test")
    assert (found.train_classes.tolist(), found.test_classes.tolist()) == (
        [1, 0, 0, 1] * 2,
        [0, 1] * 2,
    )
    assert (np.diff(found.test[:, 0]) > 0).all()


def test_generated_codes_are_balanced_standardised_and_repeat() -> None:
    codes, again = synthetic_codes(60, 8, 3, test=30), synthetic_codes(60, 8, 3, test=30)
    assert codes.train.dtype == codes.test.dtype == np.float32
    assert codes.train.shape == (60, 8)
    assert codes.test.shape == (30, 8)
    assert np.bincount(codes.train_classes).tolist() == [20, 20, 20]
    np.testing.assert_allclose(codes.train.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(codes.train.std(axis=0), 1, rtol=1e-5)
    np.testing.assert_array_equal(codes.test, again.test)


def test_a_halted_run_is_measured_between_its_halts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    clock = SimpleNamespace(perf_counter=lambda: now, sleep=lambda _seconds: None)
    monkeypatch.setattr(openvino_end_to_end, "time", clock)
    halted = openvino_end_to_end.HaltedRun(lambda: 0.1, lambda: 0.3, start=now)
    now += 4
    halted(SimpleNamespace(done=0))  # type: ignore[arg-type]
    for batch in range(22):  # of 2 images in half a second; eight after a halt were made ahead
        now += 0.5 if batch % 11 >= 8 else 0.01
        halted(SimpleNamespace(done=2 * batch + 2))  # type: ignore[arg-type]
    assert halted.setup == 4
    assert halted.seconds["alone"] == [0.1] * len(halted.seconds["run"])
    assert halted.seconds["decode"] == [0.3] * 2
    assert halted.seconds["run"] == pytest.approx([0.25] * 2)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_the_objective_is_what_the_solver_minimises(clf: str, classes: int) -> None:
    data = synthetic_codes(80, 6, classes, test=1)
    model = {"svm": LinearSVM, "softmax": SoftmaxRegression}[clf](C=0.1)
    model.fit(data.train, data.train_classes)
    (found,) = fit_path(
        ArrayMatrix(data.train), data.train_classes, clf=clf, cs=[0.1], classes=classes
    )
    value = vs_sklearn.objective(model, data.train, data.train_classes, clf=clf)
    assert value == pytest.approx(float(found.objective.sum()), rel=1e-5)


@pytest.mark.parametrize("clf", CLASSIFIERS)
def test_all_estimators_reach_the_same_minimum(clf: str) -> None:
    for classes in (2, 3):
        comparison = vs_sklearn.compare(synthetic_codes(200, 8, classes, test=50), clf, 0.1)
        fits = [comparison.ours, *comparison.others.values()]
        assert all(fit.finished and 0 <= fit.excess < 1e-3 and fit.seconds > 0 for fit in fits)
        assert comparison.ours.excess <= 3e-5
        assert comparison.different <= 0.04


def test_the_rival_is_the_fastest_of_those_that_come_near_the_minimum() -> None:
    def fit(seconds: float, excess: float) -> vs_sklearn.Fit:
        return vs_sklearn.Fit(seconds, True, excess, np.zeros(1, int))

    early, slow, fast = fit(1.0, 1e-2), fit(9.0, 0.0), fit(4.0, 5e-5)
    others = {"early": early, "slow": slow, "fast": fast}
    compared = vs_sklearn.Comparison(1.0, fit(2.0, 0.0), others, np.zeros(1, int))
    assert compared.rival is fast
    assert compared.faster == 2.0
    assert dataclasses.replace(compared, others={"early": early}).rival is early


def test_the_search_gets_more_right_than_chance() -> None:
    data = synthetic_codes(QUICK_FITTING.n, QUICK_FITTING.d, QUICK_FITTING.classes, test=1)
    found = search.whole_search(data.train, data.train_classes, clf="svm", profile=QUICK_FITTING)
    assert found.shape == (len(QUICK_FITTING.grid),)
    assert found.max() > 1.5 / QUICK_FITTING.classes


@pytest.mark.slow
def test_every_part_of_fitting_prints_a_table() -> None:
    text = fitting.markdown(QUICK_FITTING)
    for title in fitting.PARTS:
        assert f"### {title}" in text
    assert "python -m benchmarks.fitting.report --quick" in text
    assert text.count("\n|---|") == 2 * 2 + 3
    assert f"multiplied by {epochs.EPOCHS}" in text


def test_the_gpu_s_part_runs_on_the_cpu_too() -> None:
    text = "\n".join(gpu.measure(gpu.QUICK, "cpu"))
    assert text.count("\n| svm |") == text.count("\n| softmax |") == 2
    assert "4 of 4, " in text


def test_the_gpu_s_decoding_is_measured_as_on_a_gpu(
    cpu_decodes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = dataclasses.replace(
        gpu_extraction.QUICK,
        networks=((PLAIN, "layer2"),),
        transform={"resize": 32, "crop": 32},
    )
    monkeypatch.setattr("torch.cuda.synchronize", lambda _: None)
    *_, codes = gpu_decoding.measure(profile, "cpu")
    assert "cosine 1.00000 on average, 1.00000 at the least" in codes  # libjpeg's pixels, all
    assert cpu_decodes.count(6) > 2
    monkeypatch.undo()
    assert [*gpu_decoding.measure(profile, "cpu")] == ["Decoding on the card: the device is cpu"]


def test_the_gpu_s_tuning_runs_on_the_cpu_too() -> None:
    _, *lines = gpu_tuning.measure(gpu_tuning.QUICK, "cpu")
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert [row[:3] for row in rows] == [
        ["squeezenet1_0, features.11", precision, "4"] for precision in ("float32", "bfloat16")
    ]
    for *_, epoch, alone, share in rows:  # rates are printed without decimals, shares with two
        least = (float(epoch) - 0.5) / (float(alone) + 0.5) - 0.005
        most = (float(epoch) + 0.5) / (float(alone) - 0.5) + 0.005
        assert least <= float(share) <= most


def test_epochs_from_maps_are_compared_with_epochs_that_run_the_frozen_layers(
    photos: Path,
) -> None:
    tiny = {"resize": 32, "crop": 32}
    row = tail_epochs.measure(PLAIN, "layer1", photos, turns=1, **tiny)
    cells = row.strip("| ").split(" | ")
    assert len(cells) == 10
    assert all(float(cell.split()[0]) > 0 for cell in cells[3:9])
    # Multiply-adds of 3 × 3 convolutions: 16² places of 3 · 6, 8² of 6 · 8 and of 8 · 10.
    frozen, tail = 9 * 16**2 * 3 * 6, 9 * 8**2 * (6 * 8 + 8 * 10)
    assert cells[2] == f"{(3 * tail + frozen) / (3 * tail):.2f}"


def test_frozen_layers_give_the_same_maps_as_modules_and_fused() -> None:
    backbone = load_backbone(PLAIN, transform={"resize": 32, "crop": 32})
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = torch.relu(backbone.network.get_submodule("layer1")(images))
    rows = np.arange(5)
    for fused in (False, True):
        frozen = tail_epochs.frozen_layers(backbone, "layer1", fused=fused)
        assert frozen is not None
        timed = tail_epochs.Timed(tail_epochs.Recomputed(frozen, images))  # type: ignore[arg-type]
        seen = []
        for maps, index in timed.shuffled(rows, seed=0, epoch=0, batch_size=2):
            torch.testing.assert_close(maps, expected[index])
            seen += index.tolist()
        assert sorted(seen) == rows.tolist()
        assert timed.waiting > 0


@pytest.mark.slow
def test_the_sizes_of_compression_are_a_table_for_codes_and_one_for_maps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("BOTTLENECK_REAL", raising=False)
    text = compression.markdown(compression.CODES[:2], images=2, mebibytes=1, turns=1)
    assert "Generated JPEGs, random weights" in text
    for name in compression.FILTERS:
        assert text.count(f"\n| {name} |") == 2
    assert text.count("\n| none | 1.000 |") == 2


@pytest.mark.slow
def test_sources_are_a_table_of_rates_and_one_of_planning() -> None:
    text = sources.markdown(images=4, members=60, tars=3, turns=1)
    for name in ("folder", "tar", "Parquet"):
        assert f"\n| {name} | " in text
    assert "| 60 members of class folders in 3 archives | " in text
    assert "| 20 files in a folder | " in text


def test_without_a_gpu_nothing_is_claimed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    nothing = "no CUDA device: not measured"
    assert all_on_gpu.markdown() == nothing
    all_on_gpu.main(["--quick"])
    assert capsys.readouterr().out.splitlines() == [nothing]


def test_parts_on_a_gpu_take_less_than_eight_minutes_and_lose_no_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert sum(part.seconds for part in all_on_gpu.PARTS.values()) < 480
    monkeypatch.setattr(all_on_gpu, "machine", lambda: "this machine")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    all_on_gpu.main(["--device", "cpu"])
    failed = [f"### {name}\n\n\nfailed with 1" for name in all_on_gpu.PARTS]
    assert capfd.readouterr().out == "\n\n".join(["this machine", *failed]) + "\n"


@pytest.mark.slow
@pytest.mark.gpu
@pytest.mark.parametrize("name", all_on_gpu.PARTS)
def test_every_part_has_rows_on_a_gpu(name: str, gpu: torch.device) -> None:
    module = all_on_gpu.PARTS[name].module
    lines = list(module.measure(module.QUICK, str(gpu)))
    assert len(lines) > 2
    assert not any("nan" in line for line in lines)


@pytest.mark.slow
def test_a_part_that_takes_too_long_keeps_what_it_has_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\necho '| a row |'\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    part = dataclasses.replace(all_on_gpu.PARTS["tuning"], seconds=1.0)
    monkeypatch.setattr(all_on_gpu, "PARTS", {"tuning": part})
    all_on_gpu.main(["--device", "cpu"])
    assert capfd.readouterr().out.endswith("### tuning\n\n| a row |\n\nended after 1 s\n")


def test_lines_of_a_part_are_printed_as_soon_as_they_are_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []

    def measure(*_: object) -> Iterator[str]:
        for row in ("head", "a row"):
            yield row
            seen.append(capsys.readouterr().out)

    module = SimpleNamespace(QUICK=None, FULL=None, measure=measure)
    monkeypatch.setattr(all_on_gpu, "PARTS", {"one": all_on_gpu.Part(module, 1.0)})
    all_on_gpu.main(["--device", "cpu", "--part", "one"])
    assert seen == ["head\n", "a row\n"]


def test_no_row_is_begun_after_the_time_is_over() -> None:
    begun = []

    def rows() -> Iterator[str]:
        for row in "abc":
            begun.append(row)
            yield row

    assert [*within(60.0, rows())] == [*"abc"]
    begun.clear()
    assert [*within(0.0, rows())] == begun == ["a"]


@pytest.mark.slow
def test_a_part_is_measured_in_a_process_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    all_on_gpu.main(["--quick", "--device", "cpu"])
    out = capfd.readouterr().out
    assert "failed" not in out
    assert out.count("\n### ") == 5
    assert out.count("| resnet18 | bfloat16 | 4 | ") == 2  # a loop and ours; no graphs


@pytest.mark.slow
def test_the_gpu_s_extraction_runs_on_the_cpu_too() -> None:
    _, *rows = gpu_extraction.measure(gpu_extraction.QUICK, "cpu")
    assert len(rows) in (2, 3)  # the first batch size from memory too, where there is room
    assert all(row.startswith("| resnet18, layer4 | exact |") for row in rows)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ExtractionProfile:
    """Toy sizes, without the photographs."""
    monkeypatch.delenv("BOTTLENECK_REAL", raising=False)
    return QUICK_EXTRACTION


SLOW_PARTS = ("memory", "layers", "truncation", "writing")  # several processes or long runs each


@pytest.mark.parametrize(
    "part",
    [
        pytest.param(part, marks=[pytest.mark.slow] if part in SLOW_PARTS else [])
        for part in extraction.PARTS
        if part != "throughput"
    ],
)
def test_every_other_part_of_extraction_prints_a_table(part: str, toy: ExtractionProfile) -> None:
    text = extraction.markdown(toy, only=[part])
    assert text.count("### ") == 1
    assert f"### {extraction.PARTS[part][0]}\n" in text
    assert "\n|---|" in text


@pytest.mark.slow
def test_throughput_has_each_network_and_layer_and_the_naive_script(toy: ExtractionProfile) -> None:
    text = extraction.markdown(toy, only=["squeezenet1_0"])
    assert "resnet18" not in text
    for layer in ("features.12", "features.7"):
        assert f"| squeezenet1_0 | {layer} | auto: " in text
    assert "| squeezenet1_0, features.12, auto: " in text
    assert (
        "| squeezenet1_0, features.7, " not in text
    )  # the naive script runs at the last layer only
    assert "Hymenoptera" not in text


@pytest.mark.slow
def test_photographs_are_a_second_set(
    toy: ExtractionProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jpegs(tmp_path / "data" / "hymenoptera" / "train", 3)
    monkeypatch.setenv("BOTTLENECK_REAL", str(tmp_path))
    assert len(photographs()) == 3
    network = dataclasses.replace(toy.networks[0], layers=("features.7",), naive_script=False)
    text = extraction.markdown(dataclasses.replace(toy, networks=(network,)), only=["throughput"])
    assert "The 3 Hymenoptera photographs" in text
    assert text.count("| squeezenet1_0 | features.7 | auto: ") == 2


def test_images_are_repeated_in_their_classes(tmp_path: Path) -> None:
    drawn = write_jpegs(tmp_path / "drawn", 3, size=(64, 48))
    again = repeat(drawn, tmp_path / "again", 8)
    assert len({*again}) == 8
    assert [path.read_bytes() for path in again[3:6]] == [path.read_bytes() for path in drawn]
    assert [path.parent.name for path in again[:4]] == ["class0", "class1", "class0", "class0"]
    with Image.open(again[7]) as image:
        assert image.size == (64, 48)


def test_start_up_is_measured_with_commands_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def in_this_process(command: list[str], *, cwd: Path, **_: bool) -> None:
        monkeypatch.chdir(cwd)
        if command[0] == startup.PROGRAM:
            done = CliRunner().invoke(main, command[1:])
            assert done.exit_code == 0, done.output

    monkeypatch.setattr(subprocess, "run", in_this_process)
    monkeypatch.setattr(startup, "REPEATS", 1)
    assert startup.markdown().count("\n| ") == 5


def test_a_child_s_memory_is_its_own() -> None:
    ballast = np.ones(40 << 20)  # 320 MiB, which a child would be said to have had
    _, peak = run_isolated([sys.executable, "-c", "pass"])
    assert 1 << 20 < peak < ballast.nbytes // 2
    with pytest.raises(RuntimeError, match="ended with status 3"):
        run_isolated([sys.executable, "-c", "raise SystemExit(3)"])


def test_interleaved_rounds_are_paired_and_alternate() -> None:
    order: list[str] = []

    def turn(name: str) -> int:
        order.append(name)
        return len(order)

    found = interleave({name: partial(turn, name) for name in "ab"}, 2)
    assert order == ["a", "b", "b", "a"]
    assert found == {"a": [1, 4], "b": [2, 3]}
    assert ratio([2.0, 9.0, 4.0], [1.0, 3.0, 1.0]) == 3.0


def test_a_stage_is_warm_and_lasts_as_long_as_it_was_asked_to() -> None:
    calls: list[int] = []

    def once() -> int:
        calls.append(1)
        return 2

    assert seconds_each(once, at_least=0.0) > 0
    assert len(calls) == 2  # one before the time begins


@pytest.mark.slow
def test_scale_is_measured_at_two_sizes() -> None:
    table = scale.markdown(((200, 10, 2), (600, 30, 6)))
    assert "Most names in one folder: 10 and 30" in table
    assert table.count("|") == 7 * (len(scale._ACTIONS) + 2)


@pytest.mark.slow
def test_memory_of_tuning_is_measured() -> None:
    table = tuning_memory.markdown(counts=(20, 40), memory="200K")
    lines = [
        line.split("|") for line in table.splitlines() if "| 200K |" in line or "| 8G |" in line
    ]
    assert [float(peak) > 100 for *_, peak, _ in lines] == [True, True, True]


@pytest.mark.slow
def test_fits_beside_a_busy_process_are_a_table_of_shares() -> None:
    text = beside_busy.markdown([beside_busy.Fit(60, 8, 2, 0.1)], turns=1)
    assert text.count("\n| 60 × 8, 2 classes, C = 0.1 alone |") == 4


@pytest.mark.slow
def test_extractions_beside_each_other_are_a_row() -> None:
    text = beside_another.markdown(images=4, turns=1, model=PLAIN, layer="layer1")
    assert len(text.splitlines()[-1].strip("| ").split(" | ")) == 3
