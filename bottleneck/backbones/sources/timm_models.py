"""timm's models as a source of networks: by name and tag, or from the Hugging Face hub."""

import contextlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from bottleneck.backbones.read_errors import READ_ERRORS
from bottleneck.backbones.sources.hub import hub_access
from bottleneck.backbones.sources.inspection.architecture import architecture_digest
from bottleneck.backbones.sources.inspection.declared_input import declared_transform
from bottleneck.backbones.sources.meta import MetaParameters
from bottleneck.backbones.sources.weights import require_own_weights
from bottleneck.errors import (
    BackboneError,
    BottleneckError,
    UnknownNameError,
    WeightsError,
    format_error,
)
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import deferred_compiler, importing, optional_package

TIMM_PREFIX = "timm:"
HUB_PREFIX = "hf-hub:"


@dataclass(frozen=True)
class TimmModel:
    """A model of timm, with the input that timm's configuration of it asks for.

    timm is imported when a model is made, not before.

    Attributes
    ----------
    name : str
        One of ``timm.list_models``, alone or with a tag that names its published weights
        (``resnet18.a1_in1k``); or a repository of the Hugging Face hub with timm's configuration,
        ``hf-hub:org/name`` or ``hf-hub:org/name@revision``.

    Raises
    ------
    MissingPackageError
        timm is not installed.
    UnknownNameError
        timm has no model or no tag of that name.

    Examples
    --------
    >>> source = TimmModel("resnet18.a1_in1k")
    >>> network, transform = source.build_skeleton("DEFAULT")
    >>> source.reference, transform.resize, transform.crop, transform.interpolation
    ('timm:resnet18.a1_in1k', 235, 224, 'bicubic')
    """

    name: str

    def __post_init__(self) -> None:
        timm = self._timm
        if self._is_on_hub:
            return
        architecture, _, tag = self.name.partition(".")
        if not timm.is_model(architecture):
            known = [f"{TIMM_PREFIX}{name}" for name in timm.list_models()]
            raise UnknownNameError("model", self.reference, known)
        names = timm.list_models(f"{architecture}.*", include_tags=True)
        tags = [name.partition(".")[2] for name in names]
        if tag and tag not in tags:
            raise UnknownNameError("tag", tag, tags, of=f"{TIMM_PREFIX}{architecture}")

    @property
    def reference(self) -> str:
        """The name with its prefix: ``timm:NAME``, or ``hf-hub:org/name``."""
        return self.name if self._is_on_hub else f"{TIMM_PREFIX}{self.name}"

    def build(self, weights: str) -> tuple[nn.Module, str, InputTransform]:
        """Build the network, with its published weights if asked; see `ModelSource`.

        The identity is ``timm:NAME@digest``, without the tag: the digest is that of the
        architecture, so that codes of two versions of timm mix if it is the same in both.

        Parameters
        ----------
        weights : str
            ``"DEFAULT"``, which downloads the published weights of the model or its tag, ``"none"``
            or a weights file.

        Raises
        ------
        BackboneError
            The input is not square or not of three channels; or the hub's configuration cannot be
            had.
        UnknownNameError
            `weights` is something else.
        WeightsError
            The published weights cannot be downloaded.
        """
        require_own_weights(weights, model=self.reference)
        if weights == "DEFAULT":
            self._require_published_weights()
        network = self._create(pretrained=weights == "DEFAULT")
        identity = f"{TIMM_PREFIX}{_architecture_of(network)}@{architecture_digest(network)[:16]}"
        return network, identity, declared_transform(network, where=self.reference)

    def published_files(self, weights: str) -> list[Path] | None:
        """Return an empty list, or None if the weights come from a hub; see `ModelSource`."""
        return None if weights == "DEFAULT" or self._is_on_hub else []

    def build_skeleton(self, weights: str) -> tuple[nn.Module, InputTransform]:
        """Build the network, on the meta device if its builder allows it; see `ModelSource`."""
        require_own_weights(weights, model=self.reference)
        try:
            with MetaParameters():
                network = self._create(pretrained=False).to("meta")
        except BackboneError:  # some builders compute with their weights
            network = self._create(pretrained=False)
        return network, declared_transform(network, where=self.reference)

    @property
    def _timm(self) -> Any:
        with (
            optional_package("timm", needed_by=self.reference),
            importing(),
            deferred_compiler(),
        ):
            import timm
        return timm

    @property
    def _is_on_hub(self) -> bool:
        return self.name.startswith(HUB_PREFIX)

    def _require_published_weights(self) -> None:
        if self._is_on_hub:
            return
        if not self._timm.get_pretrained_cfg(self.name).has_weights:
            architecture = self.name.partition(".")[0]
            published = self._timm.list_models(f"{architecture}.*", pretrained=True)
            others = (
                f"{', '.join(TIMM_PREFIX + name for name in published)}, or " if published else ""
            )
            raise WeightsError(
                f"timm publishes no weights for {self.reference}: give {others}"
                "a file as `weights`, or `weights=none`"
            )

    def _create(self, *, pretrained: bool) -> nn.Module:
        timm = self._timm
        access = hub_access() if pretrained or self._is_on_hub else contextlib.nullcontext("")
        with access as offline, contextlib.redirect_stdout(sys.stderr):  # of downloads
            try:
                network: nn.Module = timm.create_model(self.name, pretrained=pretrained)
            except READ_ERRORS as error:
                # A file that the hub's cache lacks gives an OSError, a damaged one another error.
                reason = (isinstance(error, OSError) and offline) or format_error(error)
                raise self._creation_error(reason, pretrained=pretrained) from error
        return network

    def _creation_error(self, reason: str, *, pretrained: bool) -> BottleneckError:
        """Return what to raise when timm cannot make the network; the hub is the likely cause."""
        if self._is_on_hub:
            return BackboneError(
                f"{self.reference} could not be loaded from the Hugging Face hub ({reason})",
                hint="without a hub, give `model=timm:NAME` and its file as `weights`",
            )
        if not pretrained:
            return BackboneError(f"timm cannot build {self.reference}: {reason}")
        config = self._timm.get_pretrained_cfg(self.name)
        place = f"the Hugging Face hub's {config.hf_hub_id}" if config.hf_hub_id else config.url
        return WeightsError(
            f"the published weights of {self.reference} could not be loaded from {place} "
            f"({reason}): give their file as `weights`"
        )


def _architecture_of(network: nn.Module) -> str:
    config: Any = network.pretrained_cfg
    return str(config["architecture"])
