"""torchvision's classification models as a source of networks, with their published weights."""

import contextlib
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bottleneck.backbones.read_errors import READ_ERRORS
from bottleneck.backbones.sources.meta import MetaParameters
from bottleneck.backbones.sources.weights import is_weights_file
from bottleneck.errors import BackboneError, UnknownNameError, WeightsError, format_error
from bottleneck.input_transform import InputTransform
from bottleneck.runtime import torchvision


@dataclass(frozen=True)
class TorchvisionModel:
    """A classification model of torchvision.

    Attributes
    ----------
    name : str
        A name of ``torchvision.models.list_models``.

    Raises
    ------
    UnknownNameError
        torchvision has no classification model of that name.
    BackboneError
        The name is that of a file.

    Examples
    --------
    >>> network, transform = TorchvisionModel("squeezenet1_1").build_skeleton("DEFAULT")
    >>> next(network.parameters()).device.type, transform.crop
    ('meta', 224)
    """

    name: str

    def __post_init__(self) -> None:
        if Path(self.name).suffix == ".py":
            raise BackboneError(
                f"{self.name}: name the function in it that builds the network, {self.name}:NAME"
            )
        known = torchvision.models.list_models(module=torchvision.models)
        if self.name in known:
            return
        if Path(self.name).is_file():
            raise BackboneError(
                f"{self.name} is a file, no model's name: name the network that its weights are "
                "for, and give the file as `weights`; or, of TorchScript, path/to/file.py:NAME of "
                "a function that returns torch.jit.load(file)"
            )
        raise UnknownNameError(
            "model",
            self.name,
            known,
            "(or timm:NAME for timm's, path/to/file.py:factory for a network of your own)",
        )

    @property
    def reference(self) -> str:
        """The name."""
        return self.name

    def build(self, weights: str) -> tuple[nn.Module, str, InputTransform]:
        """Build the network, with published weights unless there is a file; see `ModelSource`.

        Parameters
        ----------
        weights : str
            ``"DEFAULT"``, one of torchvision's weights names, ``"none"`` or a weights file.

        Raises
        ------
        UnknownNameError
            There are no weights of that name.
        WeightsError
            The weights cannot be downloaded, or the downloaded file is damaged.
        """
        entry = self._weights_entry(weights)
        if _are_published(weights):
            network = self._download(entry)
        else:
            network = self._build_untrained(entry)
            _drop_training_heads(network)
        return network, self.name, _transform_of(entry)

    def published_files(self, weights: str) -> list[Path]:
        """Return the file of published weights; see `ModelSource`."""
        return [_hub_file(self._weights_entry(weights))] if _are_published(weights) else []

    def build_skeleton(self, weights: str) -> tuple[nn.Module, InputTransform]:
        """Build the network on the meta device; see `ModelSource`."""
        entry = self._weights_entry(weights)
        with MetaParameters():
            network = self._build_untrained(entry).to("meta")
        return network, _transform_of(entry)

    def _weights_entry(self, weights: str) -> Any:
        """Return torchvision's record of published weights; the default one's for others."""
        entries = torchvision.models.get_model_weights(self.name)
        if not _are_published(weights):
            return entries.DEFAULT
        known = ["DEFAULT", *(entry.name for entry in entries), "none"]
        if weights not in known:
            raise UnknownNameError("weights", weights, known, "(or a file)", of=self.name)
        return entries[weights]

    def _download(self, entry: Any) -> nn.Module:
        # By default torchvision runs whatever is in the file, which may be on a shared disk.
        entry.get_state_dict = partial(type(entry).get_state_dict, entry, weights_only=True)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # torch.hub prints its progress
                network: nn.Module = torchvision.models.get_model(self.name, weights=entry)
        except READ_ERRORS as error:
            file = _hub_file(entry)
            if file.is_file():
                raise WeightsError(
                    f"{file}, the weights {entry.name} of {self.name}, cannot be read "
                    f"({format_error(error)})",
                    hint="remove it, and it is downloaded again; or give another file as `weights`",
                ) from error
            raise WeightsError(
                f"weights {entry.name} of {self.name} could not be loaded from {entry.url} "
                f"({format_error(error)}): put {file.name} into {file.parent}, or give the file as "
                "`weights`"
            ) from error
        return network

    def _build_untrained(self, entry: Any) -> nn.Module:
        """Build the network as torchvision does for these weights, before it loads them."""
        options: dict[str, Any] = {}
        if self.name in ("googlenet", "inception_v3"):  # their builders set these: googlenet.py
            options = {"transform_input": True, "aux_logits": True, "init_weights": False}
        if self.name.startswith("vit_"):  # a position for each patch: vision_transformer.py
            options = {"image_size": entry.meta["min_size"][0]}
        network: nn.Module = torchvision.models.get_model(self.name, weights=None, **options)
        return network


def _are_published(weights: str) -> bool:
    return weights != "none" and not is_weights_file(weights)


def _hub_file(entry: Any) -> Path:
    """Return where torchvision keeps published weights."""
    return Path(torch.hub.get_dir()) / "checkpoints" / str(entry.url).rsplit("/", 1)[-1]


def _drop_training_heads(network: Any) -> None:
    # What the weights digest covers: torchvision's builder drops the auxiliary heads of GoogLeNet
    # after it has loaded published weights, and keeps that of Inception.
    if isinstance(network, torchvision.models.GoogLeNet):
        network.aux_logits, network.aux1, network.aux2 = False, None, None


def _transform_of(entry: Any) -> InputTransform:
    preset = entry.transforms()
    return InputTransform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )
