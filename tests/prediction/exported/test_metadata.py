"""What an exported file says of itself."""

import dataclasses
import json
from typing import Any

import pytest

from bottleneck.data.resizing.view_recipe import ViewRecipe
from bottleneck.errors import ExportError
from bottleneck.input_transform import InputTransform
from bottleneck.prediction.exported.metadata import ExportMetadata
from bottleneck.spec import Spec
from tests.helpers.exports import METADATA

SPEC = Spec("net", "ab" * 32, InputTransform(), "bfloat16", True, "avg")
PLAIN = dataclasses.replace(METADATA, labels=["ant", "bee"], spec=SPEC)
VIEWS = dataclasses.replace(PLAIN, views=5, view_recipe=ViewRecipe(("rotate",), 7), input="float")


@pytest.mark.parametrize("metadata", [PLAIN, VIEWS])
def test_metadata_are_read_as_they_were_written(metadata: ExportMetadata) -> None:
    assert ExportMetadata.from_text(metadata.to_text()) == metadata


def test_the_shape_has_views_and_channels_where_the_input_has_them() -> None:
    assert PLAIN.shape == ("batch", 224, 224, 3)
    assert VIEWS.shape == ("batch", 5, 3, 224, 224)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, "has format 'other' version 1; this program reads"),
        ({"format_version": 2}, "version 2"),
        ({"labels": []}, "damaged"),
        ({"labels": [1]}, "damaged"),
        ({"labels": "ant"}, "damaged"),
        ({"labels": ["ant", "ant"]}, "damaged"),
        ({"multilabel": 1}, "damaged"),
        ({"input": "int8"}, "damaged"),
        ({"views": 0}, "damaged"),
        ({"views": 2}, "damaged"),
        ({"spec_digest": "00"}, "damaged"),
        ({"layers": None}, "damaged"),
        ({"spec": {}}, "no export of this program: KeyError"),
        ({"spec": None}, "no export of this program"),
        ({"view_recipe": {"rule": 1}}, "no export of this program"),
    ],
)
def test_damaged_or_foreign_metadata_is_refused(changes: dict[str, Any], words: str) -> None:
    values = json.loads(PLAIN.to_text()) | changes
    with pytest.raises(ExportError, match=words) as caught:
        ExportMetadata.from_text(json.dumps(values), path="head.onnx")
    assert str(caught.value).startswith("head.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '"text"', "{}"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ExportError, match="the file is no export of this program"):
        ExportMetadata.from_text(text)
