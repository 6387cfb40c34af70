"""Codes on a real scheduler and three worker processes, some of which are killed."""

import pickle
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bottleneck.cache.store import open_cache
from bottleneck.errors import InvalidOptionError, ShardError, WorkerError
from bottleneck.fitting.fit import fit
from bottleneck.fitting.fit_result import FitResult
from bottleneck.fitting.heads.head import Head
from bottleneck.fitting.loading import dask_matrix as remote
from bottleneck.fitting.loading.dask_matrix import DaskMatrix, load_on_workers
from bottleneck.fitting.loading.features import Features, resolve_features
from bottleneck.fitting.selection import cross_validation
from bottleneck.fitting.selection.options import SearchOptions
from bottleneck.linear import training
from bottleneck.linear.matrix import ArrayMatrix
from bottleneck.linear.scaling import SCALINGS, fit_scaler
from bottleneck.linear.training import ClassifierOptions
from bottleneck.runtime.executors import dask_executor
from bottleneck.runtime.executors.backends import DaskExecutor
from tests.helpers.dask_cluster import Cluster, dask_cluster
from tests.helpers.datasets import cache_of_layers, clouds, several, written_cache
from tests.helpers.fixture_types import Run
from tests.helpers.problems import fit_path

distributed = pytest.importorskip("distributed")

GRID = (1e-2, 1.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with dask_cluster(3) as found:
        yield found


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Any]:
    with connected(cluster) as found:
        yield found


@pytest.fixture(autouse=True)
def few_values_of_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the default search short: each C takes many messages to the workers.

    It is exact too: Newton steps here and L-BFGS there end at different points within a gap, and a
    row that is on a boundary may then fall to either side of it.
    """
    monkeypatch.setattr(cross_validation, "C_GRID", (1e-3, 1e-1, 1e1))
    monkeypatch.setattr(cross_validation, "_REFINEMENTS", ((0.5, 2.0),))
    for module, name in (
        (cross_validation, "SEARCH_TOL"),
        (cross_validation, "_CALIBRATION_TOL"),
        (training, "_FINAL_TOL"),
    ):
        monkeypatch.setattr(module, name, 1e-10)


def connected(cluster: Cluster) -> Any:
    client = distributed.Client(cluster.address, set_as_default=False)
    if cluster.alive:
        client.wait_for_workers(len(cluster.alive), timeout=60)
    return client


class Watched:
    """A client that counts what goes through it, and does something at one of its calls."""

    def __init__(
        self, client: Any, *, at: int = -1, then: Callable[[], object] = lambda: None
    ) -> None:
        self.client, self.at, self.then, self.gathered = client, at, then, 0
        self.sent: list[tuple[str, int]] = []
        self.received: list[int] = []

    def __enter__(self) -> "Watched":
        return self

    def __exit__(self, *raised: object) -> None:
        self.client.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def map(self, function: Any, *iterables: Any, **options: Any) -> Any:
        plain = [values for values in iterables if not _are_futures(values)]
        self.sent.append((options["key"], len(pickle.dumps((function, plain)))))
        return self.client.map(function, *iterables, **options)

    def gather(self, futures: Any) -> Any:
        self.gathered += 1
        if self.gathered == self.at:
            self.then()
        found = self.client.gather(futures)
        self.received += [len(pickle.dumps(part)) for part in found]
        return found


def _are_futures(values: Sequence[Any]) -> bool:
    first = values[0]
    return _are_futures(first) if isinstance(first, list) else hasattr(first, "add_done_callback")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("remote")


@pytest.fixture(scope="module")
def photos(made: Path) -> Path:
    """Four classes of 400 rows to learn from and 200 held out, in groups."""
    X, y = clouds(600, 8, 4)
    order = np.random.default_rng(1).permutation(600)
    return written_cache(
        made / "photos",
        X[order],
        ["abcd"[k] for k in y[order]],
        split=[("train", "train", "test")[row % 3] for row in range(600)],
        group=[f"g{row // 4}" for row in range(600)],
        shard_size=70,
    )


@pytest.fixture(scope="module")
def two(made: Path) -> Path:
    X, y = clouds(300, 6, 2)
    return written_cache(made / "two", X, ["ab"[k] for k in y])


@pytest.fixture(scope="module")
def tags(made: Path) -> Path:
    X, targets = several(300, 6, 3)
    labels = [
        "|".join(name for name, has in zip("abc", row, strict=True) if has) for row in targets
    ]
    split = ["train" if row % 3 else "test" for row in range(300)]
    return written_cache(made / "tags", X, labels, split=split)


@pytest.fixture(scope="module")
def views(made: Path) -> Path:
    """Two layers in three views, unequal in each."""
    random = np.random.default_rng(0)
    layers = {}
    for layer, d in (("deep", 5), ("shallow", 7)):
        plain = clouds(240, d, seed=d)[0]
        changes = random.uniform(0.3, 1.7, size=(2, *plain.shape)).astype(np.float32)
        layers[layer] = [plain, *(plain * changes)]
    labels, split = ["abc"[row % 3] for row in range(240)], ["train", "train", "test", "train"] * 60
    return cache_of_layers(made / "views", layers, labels, split=split)


def assert_same(found: FitResult, expected: FitResult) -> None:
    """The same choice, scores and coefficients."""
    assert found.head.scaler.name == expected.head.scaler.name
    assert (found.c, found.converged) == (expected.c, expected.converged) == (found.c, True)
    assert found.search is not None
    assert expected.search is not None
    for one, other in zip(found.search.candidates, expected.search.candidates, strict=True):
        assert (one.scaling, one.c) == (other.scaling, other.c)
        assert one.scores == pytest.approx(other.scores, abs=1e-12)
    assert_same_coefficients(found.solution.coef, expected.solution.coef)
    assert (found.heldout is None) == (expected.heldout is None)
    if found.heldout is not None and expected.heldout is not None:
        measure = expected.search.metric
        assert found.heldout.metric(measure) == pytest.approx(expected.heldout.metric(measure))
        assert found.heldout.plain == pytest.approx(expected.heldout.plain)
    assert found.ece == (None if expected.ece is None else pytest.approx(expected.ece, abs=1e-4))


def assert_same_coefficients(found: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# The same as on one machine


@pytest.mark.parametrize(
    ("name", "method", "options"),
    [
        ("photos", ClassifierOptions("svm"), {"c": GRID[:1]}),
        pytest.param(
            "photos",
            ClassifierOptions("svm"),
            {"scaling": "auto", "c": GRID[:1]},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "photos",
            ClassifierOptions("softmax", class_weight="balanced"),
            {"rule": "1se"},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "photos",
            ClassifierOptions("svm", class_weight="balanced"),
            {"c": None, "metric": "macro_f1"},
            marks=pytest.mark.slow,
        ),
        ("two", ClassifierOptions("svm"), {"scaling": "l2", "c": GRID[:1]}),
        pytest.param(
            "two", ClassifierOptions("softmax"), {"scaling": "none"}, marks=pytest.mark.slow
        ),
        pytest.param("tags", ClassifierOptions("svm"), {}, marks=pytest.mark.slow),
        ("tags", ClassifierOptions("softmax", class_weight="balanced"), {"c": GRID[:1]}),
        ("views", ClassifierOptions("svm"), {"scaling": "sqrt", "c": GRID[:1]}),
        pytest.param("views", ClassifierOptions("softmax"), {}, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "clf", ""),
)
def test_a_fit_is_what_it_is_on_one_machine(
    name: str,
    method: ClassifierOptions,
    options: dict[str, Any],
    client: Any,
    request: pytest.FixtureRequest,
) -> None:
    cache = request.getfixturevalue(name)
    search = SearchOptions(**{"c": GRID, "cv": 2, **options})
    found = fit(cache, method, layers="all", search=search, executor=DaskExecutor(client))
    assert_same(found, fit(cache, method, layers="all", search=search))
    assert found.head.features == resolve_features(open_cache(cache), "all")
    assert_forgotten(client)


def assert_forgotten(client: Any) -> None:
    """Workers forget what nobody asks for."""
    end = time.monotonic() + 20

    def held() -> list[str]:
        return [key for keys in client.has_what().values() for key in keys]

    while any("bottleneck" in key or "_load" in key for key in held()):
        assert time.monotonic() < end, held()
        time.sleep(0.1)


@pytest.mark.parametrize("clf", ["svm", "softmax"])
def test_nearer_the_minimum_coefficients_are_nearer(clf: str, photos: Path, client: Any) -> None:
    cache, rows = open_cache(photos), np.arange(600)
    targets, weight = clouds(600, 8, 4)[1], np.random.default_rng(0).uniform(0, 2, 600)
    weight[::7] = 0  # these rows are none
    cs = [0.01, 1.0] if clf == "svm" else [0.01]  # of softmax each takes dozens of messages
    options: dict[str, Any] = {"clf": clf, "cs": cs, "classes": 4, "tol": 1e-12}
    codes = (
        load_on_workers(DaskExecutor(client), cache, Features(("layer",)), rows),
        ArrayMatrix(cache.read_codes("layer", rows)),
    )
    both = [fit_path(each, targets, row_weight=weight, **options) for each in codes]
    for found, expected in zip(*both, strict=True):
        assert found.converged.all()
        np.testing.assert_allclose(found.coef, expected.coef, atol=1e-5)
        np.testing.assert_allclose(found.intercept, expected.intercept, atol=1e-5)


@pytest.mark.parametrize("clf", ["svm", pytest.param("softmax", marks=pytest.mark.slow)])
def test_fewer_rows_than_features_are_brought_here(clf: str, made: Path, client: Any) -> None:
    X, y = clouds(40, 60, 3)
    cache = made / f"few-{clf}"
    written_cache(cache, X, ["abc"[k] for k in y], shard_size=15)
    search = SearchOptions(c=GRID, cv=2)
    found = fit(cache, clf, search=search, executor=DaskExecutor(client))
    assert_same(found, fit(cache, clf, search=search))


def test_codes_are_those_of_the_shards_wherever_they_are_cut(photos: Path, client: Any) -> None:
    cache, random = open_cache(photos), np.random.default_rng(0)
    rows = np.flatnonzero(random.random(600) < 0.7)
    codes, local = (
        load_on_workers(DaskExecutor(client), cache, Features(("layer",)), rows),
        cache.read_codes("layer", rows),
    )
    assert (codes.shape, codes.dtype, codes.in_memory) == (local.shape, local.dtype, False)
    assert len(codes.parts) == 3  # one for each thread
    np.testing.assert_array_equal(codes.to_local().array, local)
    np.testing.assert_array_equal(np.concatenate(list(codes.blocks())), local)
    for kept in (np.flatnonzero(random.random(len(rows)) < 0.3), np.arange(20), np.array([300])):
        taken = codes.take(kept)
        np.testing.assert_array_equal(taken.to_local().array, local[kept])
        again = taken.take(np.array([len(kept) - 1]))
        np.testing.assert_array_equal(again.to_local().array, local[kept[-1:]])
    for name in SCALINGS:
        found, expected = (fit_scaler(name, some) for some in (codes, ArrayMatrix(local)))
        np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-6)
        np.testing.assert_array_equal(codes.scaled(expected).to_local().array, expected(local))


def test_fewer_rows_than_threads_are_a_part_each(photos: Path, client: Any) -> None:
    codes = load_on_workers(
        DaskExecutor(client), open_cache(photos), Features(("layer",)), np.array([3, 500])
    )
    assert codes.counts == [1, 1]


def test_functions_go_to_the_parts_with_what_belongs_to_their_rows(client: Any) -> None:
    random = np.random.default_rng(0)
    tables = [random.normal(size=(b, 2)) for b in (4, 1, 3, *[2] * 8)]  # more than are one sum
    local, other = np.concatenate(tables), random.normal(size=(24, 1))
    parts = [client.submit(np.copy, table, pure=False) for table in tables]
    codes = DaskMatrix(client, parts, [len(table) for table in tables], 2)
    places = codes.align(np.arange(24))
    assert codes.align(places) is places  # it is there already

    def function(
        block: NDArray[Any], rows: NDArray[Any], values: NDArray[Any]
    ) -> tuple[Any, Any, Any]:
        return block, rows, values

    blocks, rows, values = zip(*codes.map_blocks(function, places, other), strict=True)
    np.testing.assert_array_equal(np.concatenate(blocks), local)
    np.testing.assert_array_equal(np.concatenate(rows), np.arange(24))
    np.testing.assert_array_equal(np.concatenate(values), other)
    total = codes.sum_blocks(lambda block, value: block.T @ value, other)
    np.testing.assert_allclose(total, local.T @ other, rtol=1e-12)
    # Always added up in the same order, as lists can tell.
    assert codes.sum_blocks(lambda _, rows: rows.tolist(), places) == list(range(24))


# What is moved


def test_sums_are_moved_and_no_codes(made: Path, client: Any) -> None:
    n, d, k = 1500, 30, 3
    X, y = clouds(n, d, k)
    cache = written_cache(made / "many", X, ["abc"[i] for i in y], shard_size=500)
    watched = Watched(client)
    done = fit(cache, "svm", search=SearchOptions(c=(0.1,), cv=0), executor=DaskExecutor(watched))
    frame = 4000  # bytes of pickled names
    assert max(watched.received) < (d + 1) * d * 8 + frame  # XᵀX in double precision
    # To the workers: which rows to read, once; targets, once; and coefficients for every pass.
    kinds = [key.removeprefix("bottleneck-") for key, _ in watched.sent]
    assert (kinds.count("load"), kinds.count("align")) == (1, 1)
    assert kinds.count("map") == done.solution.passes + 2
    for kind, (_, size) in zip(kinds, watched.sent, strict=True):
        of_rows = 8 * n if kind in ("load", "align") else 0
        assert size < of_rows + (d + 1) * k * 8 + frame


# Workers that are lost


@pytest.fixture(scope="module")
def mortal() -> Iterator[Cluster]:
    """Another cluster, whose workers are killed."""
    with dask_cluster(2) as found:
        yield found


@pytest.mark.parametrize(
    ("killed", "joining"), [pytest.param(1, 0, marks=pytest.mark.slow), (2, 1)]
)
def test_workers_killed_in_the_middle_change_nothing(
    photos: Path, mortal: Cluster, killed: int, joining: int
) -> None:
    search = SearchOptions(c=GRID[:1], cv=2)
    for _ in range(len(mortal.alive), 2):
        mortal.start_worker()
    with connected(mortal) as client:
        calm = Watched(client)
        expected = fit(photos, "svm", search=search, executor=DaskExecutor(calm))
        lost: list[str] = []

        def lose() -> None:
            lost.extend(key for keys in client.has_what().values() for key in keys)
            for name in mortal.alive[:killed]:
                mortal.kill_worker(name)
            for _ in range(joining):
                mortal.start_worker()

        watched = Watched(client, at=calm.gathered // 2, then=lose)
        found = fit(photos, "svm", search=search, executor=DaskExecutor(watched))
    for kind in ("take", "scale", "align"):  # codes and targets that were in use
        assert sum(f"bottleneck-{kind}" in key for key in lost) >= 2  # on either worker
    assert watched.gathered >= watched.at
    assert_same(found, expected)


# What is refused


def test_a_damaged_shard_is_the_same_error(two: Path, made: Path, client: Any) -> None:
    cache = made / "damaged"
    shutil.copytree(two, cache)
    shard = cache / "codes" / "layer" / "00003.h5"
    data = bytearray(shard.read_bytes())
    data[-100] ^= 1
    shard.write_bytes(data)
    messages = []
    for where in (None, DaskExecutor(client)):
        with pytest.raises(ShardError) as caught:
            fit(cache, "svm", executor=where)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


class Elsewhere(Watched):
    """A client whose workers see another file system."""

    def __init__(self, client: Any, spec: Path, content: bytes | None) -> None:
        super().__init__(client)
        self.spec, self.content = spec, content

    def run(self, function: Any, *arguments: Any, **options: Any) -> Any:
        real = self.spec.read_bytes()
        try:
            self.spec.unlink()
            if self.content is not None:
                self.spec.write_bytes(self.content)
            return self.client.run(function, *arguments, **options)
        finally:
            self.spec.write_bytes(real)


@pytest.mark.parametrize("content", [None, b"{}"])
def test_workers_that_do_not_see_the_cache_are_named_before_any_work(
    content: bytes | None, two: Path, client: Any
) -> None:
    elsewhere = Elsewhere(client, two / "spec.json", content)
    with pytest.raises(WorkerError, match=rf"tcp://127.0.0.1:\d+ does not see the cache {two}"):
        fit(two, "svm", executor=DaskExecutor(elsewhere))
    assert elsewhere.sent == []


def test_workers_without_the_package_are_named(two: Path, client: Any) -> None:
    class Bare(Watched):
        def run(self, *_: Any, **options: Any) -> Any:
            assert options == {"on_error": "return"}
            return {"tcp://there:1": ModuleNotFoundError("No module named 'bottleneck'")}

    with pytest.raises(WorkerError, match="worker tcp://there:1 cannot run this program"):
        fit(two, "svm", executor=DaskExecutor(Bare(client)))


def test_a_scheduler_without_workers_is_refused(two: Path) -> None:
    refused = pytest.raises(WorkerError, match=r"tcp://127.0.0.1:\d+ has no workers: `dask worker")
    with dask_cluster(0) as cluster, connected(cluster) as client, refused:
        fit(two, "svm", executor=DaskExecutor(client))


def test_codes_that_workers_cannot_hold_are_refused_before_any_work(two: Path, client: Any) -> None:
    class Small(Watched):
        limit = 11_599

        def run(self, function: Any, *arguments: Any, **options: Any) -> Any:
            if function is remote._memory_limit:
                return {"a": self.limit, "b": 10_000}
            return self.client.run(function, *arguments, **options)

        def map(self, function: Any, *iterables: Any, **options: Any) -> Any:
            raise BeganError

    class BeganError(Exception):
        """Nothing was refused."""

    small = Small(client)
    with pytest.raises(WorkerError, match="training on 300 codes of 6 values takes"):
        fit(two, "svm", executor=DaskExecutor(small))
    for small.limit in (11_600, 0):  # 300 × 6 × 4 bytes × 3; no limit
        with pytest.raises(BeganError):
            fit(two, "svm", executor=DaskExecutor(small))


def test_memory_is_that_of_the_workers(two: Path) -> None:
    with pytest.raises(InvalidOptionError, match="`memory=8`: must be left out: workers keep"):
        fit(two, "svm", memory=8, executor=DaskExecutor(object()))


def test_a_device_is_refused_where_workers_have_the_codes(two: Path) -> None:
    with pytest.raises(InvalidOptionError, match="`device='cpu'`: must be left out: Dask workers"):
        fit(two, ClassifierOptions("svm", device="cpu"), executor=DaskExecutor(object()))


# The command


def test_the_command_trains_the_same_head(
    two: Path, cluster: Cluster, client: Any, tmp_path: Path, run: Run
) -> None:
    options = ["fit", str(two), "--clf", "svm", "--c", "0.1", "--cv", "0"]
    dask = ["--backend", "dask", "--scheduler", cluster.address]
    heads = []
    for name, more in (("here", []), ("there", dask)):
        head = tmp_path / name
        assert run(*options, *more, "-o", str(head)).exit_code == 0
        heads.append(Head.load(head))
    assert_same_coefficients(heads[1].coef, heads[0].coef)


@pytest.mark.parametrize("given", [["--backend", "dask"], ["--scheduler", "tcp://127.0.0.1:1"]])
def test_the_backend_and_its_scheduler_need_each_other(
    given: list[str], two: Path, tmp_path: Path, run: Run
) -> None:
    result = run("fit", str(two), "--clf", "svm", "-o", str(tmp_path / "head"), *given)
    assert result.exit_code == 2
    assert "--backend dask" in result.stderr
    assert "--scheduler" in result.stderr
    assert result.stderr.count("\n") == 1


def test_nobody_at_the_address_is_one_line(
    two: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_executor, "_SECONDS_TO_ANSWER", 0.2)
    dask = ["--backend", "dask", "--scheduler", "tcp://127.0.0.1:1"]
    result = run("fit", str(two), "--clf", "svm", "-o", str(tmp_path / "head"), *dask)
    assert result.exit_code == 1
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_scheduler_that_dies_is_one_line(
    two: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dask_cluster(1) as cluster:
        watched = Watched(connected(cluster), at=10, then=cluster.scheduler.kill)
        monkeypatch.setattr(dask_executor, "_client", lambda _: watched)
        dask = ["--backend", "dask", "--scheduler", cluster.address]
        result = run("fit", str(two), "--clf", "svm", "-o", str(tmp_path / "head"), *dask)
    assert result.exit_code == 1
    assert f"the Dask scheduler at {cluster.address} is gone" in result.stderr
    assert not (tmp_path / "head").exists()


def test_work_that_kills_every_worker_is_one_error(cluster: Cluster) -> None:
    killed = distributed.KilledWorker("a-task", SimpleNamespace(address="tcp://there:1"), 3)
    refused = pytest.raises(WorkerError, match=r"gave up .*a-task.*tcp://there:1")
    with refused, dask_executor.connect(cluster.address):
        raise killed
