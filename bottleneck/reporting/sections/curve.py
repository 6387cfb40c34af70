"""The learning curve: what more training images would give."""

from bottleneck.reporting.charts import Point, curve_chart
from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.tables import chart_with_numbers, table


def render(findings: Findings) -> Html:
    """Return a chart of accuracy by the number of training images, and its numbers."""
    curve = findings.curve
    if isinstance(curve, str):
        return element("p", f"Not drawn: {curve}.")
    points = [Point(one.images, one.score, *one.interval) for one in curve.points]
    ahead, predicted = curve.predicted, None
    said = "Heads of the same C, trained on parts of the training images, in cross-validation."
    if ahead is not None:
        predicted = Point(ahead.images, ahead.score, *ahead.interval)
        low, high = (100 * bound for bound in ahead.gain_interval)
        said += (
            f" Twice as many images may give {100 * ahead.gain:.1f} points more (95 % interval "
            f"{low:.1f} to {high:.1f}): the dashed line is a power law, no measurement."
        )
    numbers = table(
        ["images", "accuracy", "standard error"],
        [[one.images, float(one.score), float(one.standard_error)] for one in curve.points],
        caption="Accuracy by the number of training images",
    )
    last = curve.points[-1]
    return chart_with_numbers(
        said,
        curve_chart(
            "Learning curve",
            f"Accuracy of heads trained on {curve.points[0].images} to {last.images} images; with "
            f"all of them {last.score:.1%}",
            points,
            predicted,
            unit="training images",
        ),
        numbers,
    )
