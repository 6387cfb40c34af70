"""The benchmarks of accuracy run on tiny networks and generated images."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.accuracy import cases, layers, strategies
from bottleneck.extraction.extract import extract
from bottleneck.fitting.fit import fit
from bottleneck.fitting.options import SearchOptions
from bottleneck.fitting.sweep import sweep
from tests.helpers.networks import PLAIN
from tests.helpers.tiny_networks import chain, plain
from tests.helpers.tuning import BOUNDARY, CHAIN, hard_images


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


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images and weights, which are the only ones that strategies know."""
    for folder in ("data", "weights"):
        (tmp_path / folder).mkdir()
    images = hard_images(tmp_path / "data")
    torch.save(chain().state_dict(), tmp_path / "weights" / "chain.pth")
    network = cases.Network("Chain", CHAIN, "chain.pth", ("2", "5", "7"), BOUNDARY)
    monkeypatch.setattr(strategies, "NETWORKS", {"chain": network})
    data_set = cases.Images("hard images", images.name, ("flip",))
    monkeypatch.setattr(strategies, "DATA_SETS", {"hard": data_set})
    return tmp_path


def test_strategies_are_kept_as_they_are_measured_and_are_a_table(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = tiny / "caches"
    command = [str(tiny), str(caches), "--epochs", "1", "--lr", "0.001"]
    strategies.main(command)
    printed, log = capsys.readouterr()
    title, _, *rows = printed.splitlines()
    assert title == "| hard images | Chain | seconds |"
    stated = {cells[0]: cells[1] for row in rows for cells in [row.strip("| ").split(" | ")]}
    assert list(stated) == [title for title, _ in strategies.STRATEGIES.values()]
    assert [path.name for path in caches.iterdir()] == [strategies.RESULTS]

    # The same by another way: a cache of all layers, of which one is fitted alone.
    network, weights = strategies.NETWORKS["chain"], str(tiny / "weights" / "chain.pth")
    source, every = tiny / "data" / "hard.csv", tiny / "every.cache"
    cache = extract(source, every, model=CHAIN, weights=weights, layers=network.layers).cache
    alone = [fit(cache, "svm", layers=layer) for layer in network.layers]
    found = max(alone, key=lambda result: result.search.best.mean if result.search else 0.0)
    for name, result in (("one-layer", found), ("last-layer", alone[-1])):
        heldout = result.heldout
        assert heldout is not None
        assert heldout.ci95 is not None
        low, high = heldout.ci95
        text = f"{heldout.accuracy:.1%} ({100 * low:.1f} to {100 * high:.1f})"
        assert stated[strategies.STRATEGIES[name][0]] == text
    lines = [json.loads(line) for line in (caches / strategies.RESULTS).read_text().splitlines()]
    views = {line["cell"]["strategy"]: line["result"]["views"] for line in lines}
    assert [name for name, count in views.items() if count == 5] == [
        "all-layers-views",
        "tail-views",
    ]
    assert lines[-1]["cell"]["options"]["lr"] == lines[-1]["result"]["lr"] == 0.001

    # What is known is not measured again; another recipe is, and the table has the last one.
    monkeypatch.setattr(strategies, "measure", None)
    strategies.main(command)
    again, log = capsys.readouterr()
    assert again == printed
    assert log.count("already") == len(strategies.STRATEGIES)
