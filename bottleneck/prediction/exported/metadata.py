"""What an exported file says of itself: one JSON text, whatever the file's own format."""

import json
from dataclasses import asdict, dataclass
from typing import Self

from bottleneck import __version__
from bottleneck.data import ViewRecipe
from bottleneck.errors import ExportError, format_error
from bottleneck.fitting import Classifier, Head
from bottleneck.spec import Spec

FORMAT = "bottleneck-export"
FORMAT_VERSION = 1
KEY = "bottleneck"  # of the text among a file's metadata
DIGEST_KEY = f"{KEY}.sha256"  # of the file's digest, in ONNX

UINT8, FLOAT = "uint8", "float"
INPUTS = (UINT8, FLOAT)

_NEXT = "`bottleneck.export` makes such files"


@dataclass(frozen=True)
class ExportMetadata:
    """What an exported file says of itself.

    Attributes
    ----------
    labels : list of k str
        Class names, in the order of the scores.
    multilabel : bool
        Whether an image may have several labels, or none.
    scores : str
        ``"probabilities"``, or ``"margins"`` of a classifier without calibration.
    calibration : str
        What makes margins probabilities: ``"softmax"`` over classes, ``"logistic"`` of each label,
        or ``"none"``.
    classifier : str
        ``"svm"``, ``"softmax"`` or ``"tail"``.
    layers : list of str
        Layers of the network whose codes are read; ``""`` is its input.
    views : int
        Pictures of each image that the file takes, and averages.
    view_recipe : ViewRecipe or None
        How they are made.
    input : str
        ``"uint8"``: images of shape (n, height, width, 3), of 0…255. ``"float"``: of shape
        (n, 3, height, width), of 0…1. With views, these are a second axis.
    opset : int or None
        Version of ONNX's operators.
    spec : Spec
        Of the codes that the classifier was trained on, with the preparation of images. The file
        computes in float32, whatever precision it names.

    Examples
    --------
    >>> from bottleneck.input_transform import InputTransform
    >>> spec = Spec("net", "ab", InputTransform(), "bfloat16", True, "avg")
    >>> metadata = ExportMetadata(
    ...     ["ant", "bee"], False, "probabilities", "softmax", "svm", ["layer3"], 1, None,
    ...     "uint8", 20, spec
    ... )
    >>> ExportMetadata.from_text(metadata.to_text()) == metadata
    True
    """

    labels: list[str]
    multilabel: bool
    scores: str
    calibration: str
    classifier: str
    layers: list[str]
    views: int
    view_recipe: ViewRecipe | None
    input: str
    opset: int | None
    spec: Spec

    @classmethod
    def of(cls, classifier: Classifier, input_type: str) -> Self:
        """Return what the file of a classifier says, before a format adds its own.

        Parameters
        ----------
        classifier : Classifier
        input_type : str
            One of `INPUTS`.
        """
        calibration, features = classifier.calibration, classifier.features
        mapped = "none"
        if calibration is not None:
            mapped = "logistic" if calibration.independent else "softmax"
        return cls(
            labels=classifier.classes,
            multilabel=classifier.multilabel,
            scores="margins" if calibration is None else "probabilities",
            calibration=mapped,
            classifier=classifier.clf if isinstance(classifier, Head) else "tail",
            layers=list(features.layers),
            views=features.views,
            view_recipe=features.recipe,
            input=input_type,
            opset=None,
            spec=classifier.spec,
        )

    @property
    def shape(self) -> tuple[str | int, ...]:
        """Shape of the input, with ``"batch"`` for the number of images."""
        side = self.spec.transform.crop
        views = (self.views,) * (self.views > 1)
        image = (side, side, 3) if self.input == UINT8 else (3, side, side)
        return ("batch", *views, *image)

    def to_text(self) -> str:
        """Return it as JSON."""
        values = asdict(self) | {
            "view_recipe": self.view_recipe.to_json() if self.view_recipe else None,
            "spec": self.spec.to_json(),
        }
        own = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "bottleneck": __version__,
            "spec_digest": self.spec.digest(),
        }
        return json.dumps(own | values)

    @classmethod
    def from_text(cls, text: str, *, path: object = "the file") -> Self:
        """Read it from JSON.

        Parameters
        ----------
        text : str
        path : object
            Where the text was, for messages.

        Raises
        ------
        ExportError
            It is not such a text, is of a later version, or contradicts itself.
        """
        try:
            values = json.loads(text)
            if values["format"] != FORMAT or values["format_version"] != FORMAT_VERSION:
                raise ExportError(
                    f"{path} has format {values['format']!r} version "
                    f"{values['format_version']!r}; this program reads {FORMAT!r} {FORMAT_VERSION}"
                )
            spec, recipe = Spec.from_json(values["spec"]), values["view_recipe"]
            fields = {name: values[name] for name in cls.__dataclass_fields__} | {
                "spec": spec,
                "view_recipe": ViewRecipe.from_json(recipe) if recipe else None,
            }
            digest = values["spec_digest"]
        except ExportError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise ExportError(
                f"{path} is no export of this program: {format_error(error)}", hint=_NEXT
            ) from error
        found = cls(**fields)
        found._validate(path, digest)
        return found

    def _validate(self, path: object, digest: object) -> None:
        lists = (self.labels, self.layers)
        texts = (self.scores, self.calibration, self.classifier)
        valid = (
            all(isinstance(names, list) and names for names in lists)
            and all(isinstance(text, str) for text in (*self.labels, *self.layers, *texts))
            and len(set(self.labels)) == len(self.labels)
            and isinstance(self.multilabel, bool)
            and self.input in INPUTS
            and type(self.views) is int
            and self.views >= 1
            and (self.views > 1) == (self.view_recipe is not None)
            and digest == self.spec.digest()
        )
        if not valid:
            raise ExportError(f"{path} is no export of this program: its metadata are damaged")
