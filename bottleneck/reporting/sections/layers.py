"""Accuracy by layer: which codes of the cache are the best."""

from bottleneck.fitting import Head
from bottleneck.reporting.charts import Estimate, estimates_chart
from bottleneck.reporting.findings import Findings
from bottleneck.reporting.html import Html, element
from bottleneck.reporting.tables import chart_with_numbers, table


def render(findings: Findings) -> Html:
    """Return a chart of the layers, in the order of their depth, and its numbers."""
    sweep = findings.sweep
    if isinstance(sweep, str):
        return element("p", f"Layers were not compared: {sweep}.")
    used, pool_of = findings.head.features.layers, findings.cache.spec.pool_of
    estimates = [
        Estimate(
            row.layer,
            row.cv.mean,
            row.cv.standard_error,
            row.heldout_metric,
            marked=row.layers == used,
        )
        for row in sweep
    ]
    chosen = sweep.recommended
    heldout = f"; ◇ on the split {chosen.heldout.split}" if chosen.heldout else ""
    unpooled = "none" in (pool_of(layer) for row in sweep for layer in row.layers)
    # For a tuned tail, the layers are compared by averages of the maps; see `collect`.
    averaged = unpooled and not isinstance(findings.head, Head)
    maps = ", their maps averaged over positions" if averaged else ""
    bold = "The layers of this head are in bold. " if any(one.marked for one in estimates) else ""
    said = (
        f"{chosen.clf} heads on the plain images{maps}: ● in cross-validation, with its standard "
        f"error{heldout}. {bold}The cheapest "
        f"within one standard error of the best is {chosen.layer}."
    )
    rows = [
        [
            row.layer,
            row.cost,
            row.size,
            float(row.cv.mean),
            float(row.cv.standard_error),
            row.heldout_metric,
        ]
        for row in sweep
    ]
    numbers = table(
        ["layer", "network", "code", "cross-validation", "standard error", "held-out"],
        rows,
        caption="Accuracy by layer",
        sortable=True,
    )
    best = sweep.best
    return chart_with_numbers(
        said,
        estimates_chart(
            "Accuracy by layer",
            f"{len(sweep)} rows from the first layer to the last; the best in cross-validation is "
            f"{best.layer} with {best.cv.mean:.1%}",
            estimates,
        ),
        numbers,
    )
