"""Reliability: whether images with a probability of 80 % are right in 80 of 100 cases."""

from bottleneck.fitting import calibration_bins, wilson_interval
from bottleneck.reporting.charts import Point, reliability_chart
from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.tables import chart_with_numbers, table


def render(findings: Findings) -> Html:
    """Return the reliability diagram (A. Niculescu-Mizil and R. Caruana, 2005) and its numbers."""
    if findings.head.calibration is None:
        return element("p", "This head has no probabilities: it was trained without folds.")
    bins = calibration_bins(findings.scores, findings.judged.targets)
    edges = [i / len(bins.predictions) for i in range(len(bins.predictions) + 1)]
    points, shares, rows = [], [], []
    for i, (count, confidence, right) in enumerate(zip(*map(list, bins), strict=True)):
        shares.append((edges[i], float(count / bins.predictions.sum())))
        if count:
            accuracy = float(right / count)
            interval = wilson_interval(accuracy, float(count))
            points.append(Point(float(confidence / count), accuracy, *interval))
            name = f"{edges[i]:.0%} to {edges[i + 1]:.0%}"
            rows.append([name, int(count), float(confidence / count), accuracy])
    said = (
        "A dot on the diagonal means that images with this probability are right as often as it "
        "says; below it, the head is too sure. Lines are 95 % intervals."
    )
    numbers = table(
        ["confidence", "images", "mean confidence", "right"], rows, caption="Reliability in bins"
    )
    ece = findings.score.ece
    return chart_with_numbers(
        said,
        reliability_chart(
            "Reliability diagram",
            f"Accuracy against confidence in {len(points)} bins; the expected calibration error is "
            f"{ece:.1%}",
            points,
            shares,
        ),
        numbers,
    )
