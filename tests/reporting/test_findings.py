"""What a report computes of all images, and asks for at each picture."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from bottleneck.reporting.findings import Findings
from tests.helpers.counting import Compared


def test_confidences_of_all_images_are_computed_once_for_all_their_pictures() -> None:
    scores = np.random.default_rng(0).random((50, 3))
    head = SimpleNamespace(predict_scores=lambda values: values.view(Compared), calibration=None)
    others: dict[str, Any] = dict.fromkeys(Findings.__dataclass_fields__)
    findings = Findings(**others | {"head": head, "judged": SimpleNamespace(values=[scores])})
    before = Compared.count
    texts = [findings.confidence_text(i) for i in range(50)]
    assert texts == [f"{row.max():.2f}" for row in scores]
    assert Compared.count - before == scores.size
