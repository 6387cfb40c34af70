from bottleneck.fitting.selection.search_result import Candidate, SearchResult


def candidate(c: float, *scores: float, converged: bool = True, name: str = "l2") -> Candidate:
    return Candidate(name, c, scores, 1e-4, converged)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_the_best_candidate_is_marked_and_missing_convergence_is_shown() -> None:
    low, high = candidate(0.1, 0.5, 0.7), candidate(1.0, 0.4, 0.4, converged=False)
    assert words(str(SearchResult(low, [low, high], 2, "accuracy"))) == [
        ["C", "accuracy", "±", "std"],
        ["0.1", "60.0%", "10.0%", "*"],
        ["1", "40.0%", "0.0%", "not", "converged"],
    ]


def test_the_best_candidate_may_not_have_converged() -> None:
    only = candidate(0.1, 0.5, 0.7, converged=False)
    assert str(SearchResult(only, [only], 2, "balanced")).endswith("* not converged")


def test_several_scalings_have_a_column() -> None:
    both = [candidate(0.1, 0.5, name="l2"), candidate(0.1, 0.6, name="none")]
    lines = words(str(SearchResult(both[1], both, 1, "mean_average_precision")))
    assert lines[0][:5] == ["preprocess", "C", "mean", "average", "precision"]
    assert [line[0] for line in lines[1:]] == ["l2", "none"]
    assert [line[-1] for line in lines[1:]] == ["0.0%", "*"]


def test_html_is_escaped() -> None:
    only = candidate(0.1, 0.5, 0.7)
    html = SearchResult(only, [only], 2, "<accuracy>")._repr_html_()
    assert html.startswith("<pre>")
    assert "&lt;accuracy&gt;" in html
    assert "<accuracy>" not in html
