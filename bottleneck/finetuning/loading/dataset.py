"""Load the layers to train, and the labelled maps or images to train them on."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bottleneck.backbones import Tail, load_backbone
from bottleneck.cache import Cache
from bottleneck.data import ImageSource, ImageTable, ViewRecipe
from bottleneck.errors import CacheError, InvalidOptionError
from bottleneck.extraction import TransformLike, choose_range, load_network, make_spec
from bottleneck.finetuning.loading.batches import Batches, Examples
from bottleneck.finetuning.loading.images import ImageBatches, check_images
from bottleneck.finetuning.loading.maps import open_maps
from bottleneck.fitting import (
    INPUT,
    Features,
    LabelledRows,
    LabelledSplits,
    Views,
    label_codes,
    label_rows,
    resolve_features,
)
from bottleneck.linear import TrainingSet
from bottleneck.model_reference import ModelReference
from bottleneck.pooling import pooled_name, split_pooled_name
from bottleneck.runtime import require_positive_or_none, sha256, trust_code
from bottleneck.spec import Spec


@dataclass(frozen=True)
class TuningDataset:
    """The layers to train, and labelled images to train and to judge them on.

    Attributes
    ----------
    tail : Tail
        As pretrained.
    features : Features
        The boundary, or `INPUT`, and the views.
    spec : Spec
        Of the boundary's maps, or of images.
    reference : ModelReference
        Origin of the network.
    labelled : LabelledSplits
    train_digest : str
        Of the training images, with their targets and groups.
    batches : Batches
        Of all these images.
    augmentation : ViewRecipe or None
        What an epoch makes of an image. Features say how an image is judged, which may be plain.
    rejected : dict of str to str
        Labelled images that cannot be read, by path, and why.
    image_digests : sequence of str
        SHA-256 of the bytes of each training image; none of a cache, whose maps do not change.
    """

    tail: Tail
    features: Features
    spec: Spec
    reference: ModelReference
    labelled: LabelledSplits
    train_digest: str
    batches: Batches
    augmentation: ViewRecipe | None
    rejected: dict[str, str] = dataclasses.field(default_factory=dict)
    image_digests: Sequence[str] = ()

    @property
    def training(self) -> Examples:
        """The images to train on."""
        return self._examples(self.labelled.training)

    @property
    def heldout(self) -> Examples | None:
        """The images to judge on; None without a held-out split."""
        held = self.labelled.heldout
        return None if held is None else self._examples(held)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a `Classifier` that is trained on it, but its calibration and record."""
        return {
            "features": self.features,
            "classes": self.labelled.names,
            "multilabel": self.labelled.multilabel,
            "spec": self.spec,
            "reference": self.reference,
        }

    def digest(self, codes: TrainingSet) -> str:
        """Return a digest of the images, of what an epoch shows of them, and of the network.

        A training on others is another training, though its rows, targets and start be the same:
        dropout changes no code, nor does what a crop shows beside the middle of an image.

        Parameters
        ----------
        codes : TrainingSet
            Those of the training images, as pretrained.
        """
        parts = (self.features, self.augmentation, self.spec)
        shown = json.dumps([self.image_digests, [part and asdict(part) for part in parts]])
        blocks = codes.codes.map_blocks(lambda block: np.ascontiguousarray(block).data)
        return sha256(shown.encode(), *blocks)

    def _examples(self, rows: LabelledRows) -> Examples:
        classes = len(self.labelled.names)
        return Examples(self.batches, rows.row, rows.targets, classes, rows.groups)


def load_from_cache(
    cache: Cache,
    images: ImageTable,
    layer: str | None,
    *,
    views: Views,
    model: str | nn.Module | None,
    weights: str | PathLike[str] | None,
    memory: int | None,
) -> TuningDataset:
    """Open the maps of a layer in a cache, and the layers behind it.

    Parameters
    ----------
    cache : Cache
    images : ImageTable
        The cache's own table, or the same rows with other labels.
    layer : str, optional
        The boundary; needed where the cache has maps of several layers.
    views : int or "all"
        Views of each image, counted from the plain one.
    model : str or nn.Module, optional
        The network, if its file has moved or it was given as an object; it must be the same.
    weights : str or PathLike, optional
        The weights, if their file has moved; they must be the same.
    memory : int, optional
        Bytes for maps.

    Raises
    ------
    UnknownNameError, InvalidOptionError
        There is no such layer, or it is no cut of the network; or `memory` is no number of bytes.
    CacheError
        What the cache has of the layer are not its maps, or not all of them.
    LabelsError
        The labels do not allow a classifier to be trained or scored.
    """
    require_positive_or_none("memory", memory)
    boundary = choose_boundary(cache, layer)
    features = resolve_features(cache, boundary, views)
    labelled = label_codes(cache, features, images)  # before a network is loaded
    backbone = load_network(
        cache.spec,
        cache.reference,
        model=model,
        weights=weights,
        owner=f"cache {cache.path}",
        next_step="give the network that the cache was made with",
    )
    tail = backbone.tail(boundary)
    _require_maps(cache, boundary, tail)
    batches = open_maps(cache, features, _all_rows(labelled), memory=memory)
    return TuningDataset(
        tail=tail,
        features=features,
        spec=cache.spec,
        reference=cache.reference,
        labelled=labelled,
        train_digest=labelled.training.digest(images),
        batches=batches,
        augmentation=features.recipe,
    )


def choose_boundary(cache: Cache, layer: str | None) -> str:
    """Return the layer of a cache to train behind: the named one, or the only one with maps.

    Where a cache has a layer's maps beside its codes, its name means the maps.

    Raises
    ------
    UnknownNameError
        There is no such layer.
    InvalidOptionError
        No layer was named, and several have maps, or none has.
    """
    maps = tuple(each for each in cache.layers if cache.spec.pool_of(each) == "none")
    chosen = maps or tuple(cache.layers)
    if layer is not None:
        beside = pooled_name(layer, "none")
        chosen = resolve_features(cache, beside if beside in maps else layer, 1).layers
    if len(chosen) != 1:
        allowed = f"one layer of {cache.path} ({', '.join(maps or cache.layers)})"
        raise InvalidOptionError("layer", layer, f"{allowed}: training goes on behind it")
    return chosen[0]


def load_from_images(
    source: ImageSource,
    model: str | nn.Module | None,
    *,
    weights: str | PathLike[str],
    transform: TransformLike | None,
    views: Views,
    augmentations: Sequence[str] | None,
    seed: int,
) -> TuningDataset:
    """Open images, and the whole network.

    Parameters
    ----------
    source : ImageSource
    model : str or nn.Module
        See `bottleneck.backbones.load_backbone`. It must be given.
    weights : str or PathLike
    transform : InputTransform or mapping, optional
        What replaces the input of the weights, or some of its fields.
    views : int
        Views of each image, counted from the plain one, by whose mean it is judged.
    augmentations : sequence of str, optional
        What each epoch's pictures of the images may be; none if it is empty.
    seed : int
        Of the views.

    Raises
    ------
    InvalidOptionError
        An option has a value that is not allowed.
    BackboneError
        The network cannot be built or followed.
    LabelsError
        The labels do not allow a classifier to be trained or scored.
    """
    if model is None:
        raise InvalidOptionError("model", model, "given for images: the network to train")
    if views == "all":
        raise InvalidOptionError("views", views, "a number: images have as many as are asked for")
    table = source.table
    labelled = label_rows(table, table.exists)  # before a network is loaded
    recipe = ViewRecipe(seed=seed) if augmentations is None else None
    if augmentations:
        recipe = ViewRecipe(tuple(augmentations), seed)
    features = Features((INPUT,), recipe=recipe).with_views(views)
    trust_code(model)
    backbone = load_backbone(model, weights, transform=choose_range(transform, source, None))
    batches = ImageBatches(source, backbone.transform, views, recipe)
    digests, reasons = check_images(batches, _all_rows(labelled))
    if reasons:
        usable = table.exists.copy()
        usable[list(reasons)] = False
        labelled = label_rows(table, usable)
    return TuningDataset(
        tail=backbone.tail(None),
        features=features,
        spec=make_spec(backbone, precision="float32", relu=False, pool="none"),
        reference=backbone.reference,
        labelled=labelled.with_copies(_count_copies(labelled, digests)),
        train_digest=labelled.training.digest(table),
        batches=dataclasses.replace(batches, digests=digests),
        augmentation=recipe,
        rejected={table.path[row]: reason for row, reason in reasons.items()},
        image_digests=[digests[row] for row in labelled.training.row.tolist()],
    )


def _all_rows(labelled: LabelledSplits) -> NDArray[np.int64]:
    parts = [labelled.training, *([labelled.heldout] if labelled.heldout else [])]
    return np.unique(np.concatenate([part.row for part in parts]))


def _count_copies(labelled: LabelledSplits, digests: dict[int, str]) -> int:
    """Return how many held-out images have the same bytes as a training image."""
    trained = {digests[row] for row in labelled.training.row.tolist()}
    held = labelled.heldout.row.tolist() if labelled.heldout else []
    return sum(digests[row] in trained for row in held)


def _require_maps(cache: Cache, layer: str, tail: Tail) -> None:
    """Refuse codes from which the layers behind cannot be computed."""
    shape, pool = cache.code_shape(layer), cache.spec.pool_of(layer)
    name = split_pooled_name(layer)[0]
    if cache.spec.relu and not tail.non_negative:
        raise CacheError(
            f"{cache.path} lacks the values below 0 of {layer!r}, which the layers behind it read: "
            f"extract {name!r} into another cache with `relu=False` and `pool=none`"
        )
    if shape != tail.in_shape:
        maps = pooled_name(name, "none")
        raise CacheError(
            f"{cache.path} has codes of {layer!r} pooled by {pool!r}, of shape {shape}, and the "
            f"layers behind it read its maps, of shape {tail.in_shape}: `bottleneck.extract` with "
            f"`layers={maps}` adds them"
        )
