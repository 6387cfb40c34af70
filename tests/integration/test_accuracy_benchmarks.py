"""The benchmarks of accuracy run on tiny networks and generated images."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.accuracy import cases, layers, poolings, strategies
from benchmarks.accuracy.strategies import Measurement
from bottleneck.extraction.extract import extract
from bottleneck.fitting.fit import fit
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.fitting.sweep import sweep
from tests.helpers.networks import PLAIN
from tests.helpers.tiny_networks import chain, plain
from tests.helpers.tuning import BOUNDARY, CHAIN, hard_images

NETWORK = cases.Network("Chain", CHAIN, "chain.pth", ("2", "7"), BOUNDARY)


@pytest.mark.slow
def test_layers_are_a_table_for_each_network_and_data_set(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("data", "weights"):
        (tmp_path / folder).mkdir()
    photos.rename(tmp_path / "data" / "photos")
    torch.save(plain().state_dict(), tmp_path / "weights" / "plain.pth")
    network = cases.Network("Plain", PLAIN, "plain.pth", ("layer2", "layer3"), "layer2")
    monkeypatch.setattr(layers, "NETWORKS", {"plain": network})
    images = cases.Images("photographs", "photos", ("flip",))
    monkeypatch.setattr(layers, "DATA_SETS", {"photos": images})
    monkeypatch.setattr(layers, "_VIEWS", 2)
    (text,) = layers.sections(tmp_path, tmp_path)
    assert "### photographs, Plain\n\n2 views: flip with seed 0\n" in text
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")][
        1:
    ]
    found = {tuple(row[:3]): row[3:] for row in rows}
    assert len(found) == len(rows) == 9
    compared = 0
    for scaling in layers.SCALINGS:  # the same by another way: rows of a sweep
        search = SearchOptions(scaling=scaling)
        for row in sweep(tmp_path / "plain-photos.cache", "svm", search=search):
            which = "all" if len(row.layers) > 1 else row.layer
            if values := found.get((which, str(row.views), scaling)):
                folds = f"{row.cv.mean:.1%} ± {row.cv.standard_error:.1%}"
                assert values == [folds, f"{row.heldout_metric:.1%}"]
                compared += 1
    assert compared == 7  # all but the best layer's views


@pytest.mark.slow
def test_poolings_are_a_table_for_each_network_and_data_set(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poolings, "NETWORKS", {"chain": NETWORK})
    monkeypatch.setattr(poolings, "DATA_SETS", {"hard": cases.Images("hard", "hard.csv", ())})
    (text,) = poolings.sections(tiny, tiny)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    by_pooling = dict(zip(rows[0][1:], rows[1][1:], strict=True))
    assert [row[0] for row in rows] == ["layer", "2", "all"]
    (cache,) = tiny.glob("*poolings.cache")
    for name, which in (("avg", "2"), ("3 × 3", "2@3x3"), ("avg and max", ["2", "2@max"])):
        found = fit(cache, "svm", layers=which)
        assert found.search is not None
        expected = f"{100 * found.search.best.mean:.1f} / {100 * (found.score or 0):.1f}"
        assert by_pooling[name] == expected


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images and weights, which are the only ones that strategies know."""
    for folder in ("data", "weights"):
        (tmp_path / folder).mkdir()
    images = hard_images(tmp_path / "data")
    state = chain().state_dict()
    state["3.weight"][1:] = 0  # so that the last layer tells less than the one before
    torch.save(state, tmp_path / "weights" / "chain.pth")
    monkeypatch.setattr(strategies, "NETWORKS", {"chain": NETWORK})
    data_set = cases.Images("hard images", images.name, ("flip",))
    monkeypatch.setattr(strategies, "DATA_SETS", {"hard": data_set})
    return tmp_path


@pytest.mark.parametrize(
    "asked",
    [
        ("one-layer", "tail-views"),
        pytest.param(tuple(strategies.STRATEGIES), marks=pytest.mark.slow),
    ],
    ids=["two", "all"],
)
def test_strategies_are_kept_as_they_are_measured_and_are_a_table(
    asked: tuple[str, ...],
    tiny: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caches = tiny / "caches"
    command = [str(tiny), str(caches), "--epochs", "1", "--lr", "0.001"]
    command += [word for name in asked for word in ("--strategy", name)]
    strategies.main(command)
    printed, _ = capsys.readouterr()
    title, _, *rows = printed.splitlines()
    assert title == "| hard images | Chain | seconds |"
    stated = {cells[0]: cells[1] for row in rows for cells in [row.strip("| ").split(" | ")]}
    titles = {name: title for name, (title, _) in strategies.STRATEGIES.items()}
    assert list(stated) == [titles[name] for name in asked]
    assert [path.name for path in caches.iterdir()] == [strategies.RESULTS]  # no cache stays

    # The same by another way: a cache of all layers, of which one is fitted alone.
    source, weights = tiny / "data" / "hard.csv", str(tiny / "weights" / "chain.pth")
    every = extract(
        source, tiny / "every.cache", model=CHAIN, weights=weights, layers=NETWORK.layers
    )
    alone = [fit(every, "svm", layers=layer) for layer in NETWORK.layers]
    best = max(alone, key=lambda result: result.search.best.mean if result.search else 0.0)
    for name, result in (("one-layer", best), ("last-layer", alone[-1])):
        heldout = result.heldout
        assert heldout is not None
        assert heldout.ci95 is not None
        low, high = heldout.ci95
        text = f"{heldout.accuracy:.1%} ({100 * low:.1f} to {100 * high:.1f})"
        assert stated.get(titles[name], text) == text

    lines = [json.loads(line) for line in (caches / strategies.RESULTS).read_text().splitlines()]
    for line in lines:
        name, options, result = line["cell"]["strategy"], line["cell"]["options"], line["result"]
        assert result["views"] == (5 if name.endswith("-views") else 1)
        assert (result["clf"] == "tail") == (options.get("lr") == 0.001), name
        if name == "one-layer":
            assert result["layers"] == list(best.head.features.layers)
            assert len({fitted.search.best.mean for fitted in alone if fitted.search}) > 1

    # What is known is not measured again.
    monkeypatch.delattr(strategies, "measure")
    strategies.main(command)
    again, log = capsys.readouterr()
    assert again == printed
    assert log.count("already") == len(asked)


def test_a_table_has_the_last_line_of_each_cell_and_gaps_where_there_is_none(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "NETWORKS", {"chain": NETWORK, "other": NETWORK})

    def line(network: str, strategy: str, accuracy: float, **options: float) -> Measurement:
        heldout = {"accuracy": accuracy, "ci95": None}
        cell = strategies.Cell(network, "hard", strategy, options)
        return Measurement(cell, 1.4, {"heldout": heldout}, "a machine")

    lines = [line("chain", "tail", 0.5, lr=1.0), line("chain", "tail", 0.75, lr=2.0)]
    (text,) = strategies.tables([*lines, line("other", "last-layer", 0.25)])
    assert text.splitlines()[2:] == [
        "| linear head, last layer |  |  | 25.0% | 1 |",
        "| tail | 75.0% | 1 |  |  |",
    ]
