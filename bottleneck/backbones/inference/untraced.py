"""Run networks that cannot be traced, one batch at a time.

A copy of the network runs in the first of these formats that gives the codes of the network:
feature maps with channels last in memory, which is fast; contiguous feature maps, for a network
that calls `Tensor.view` on them; and, in float32, contiguous maps with all weights in the network's
own types.
"""

import copy
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor, nn

from bottleneck.backbones.casting import cast_module, use_channels_last
from bottleneck.backbones.layers.truncated import TruncatedNetwork
from bottleneck.backbones.probing.agreement import difference
from bottleneck.backbones.probing.failing_operation import failing_operation
from bottleneck.backbones.probing.probe import Probe
from bottleneck.backbones.user_code import describe_error, errors_in_one_line
from bottleneck.errors import USER_CODE_EXCEPTIONS, BackboneError, PrecisionError

# Largest difference from the probe's codes at which a format is accepted. Rounding is far below it,
# and a network that reads another memory layout is far above.
_TOLERANCE = {torch.float32: 1e-2, torch.bfloat16: 0.1, torch.float16: 0.1}

_COPYABLE = "make it work with copy.deepcopy, for example by a method __deepcopy__"


@dataclass(frozen=True)
class _CopyFormat:
    """Number types and memory format in which a copy of a network runs.

    Attributes
    ----------
    rounded : bool
        Whether all weights and buffers are cast to the type of the copy.
    memory_format : torch.memory_format
        Of feature maps.
    """

    rounded: bool
    memory_format: torch.memory_format


_CHANNELS_LAST = _CopyFormat(rounded=True, memory_format=torch.channels_last)
_CONTIGUOUS = _CopyFormat(rounded=True, memory_format=torch.contiguous_format)
_UNROUNDED = _CopyFormat(rounded=False, memory_format=torch.contiguous_format)


class UntracedNetwork:
    """Copy of a truncated network, which one thread at a time may run.

    Parameters
    ----------
    truncated : TruncatedNetwork
        Of a network in float32 on the CPU. It is not modified.
    probe : Probe
        Of that network.
    dtype : torch.dtype
        Of the copy's weights and activations.
    device : torch.device
        Of the copy.

    Attributes
    ----------
    deviation : float
        Difference of the codes of the probe's images from those in float32, relative to their
        norm; infinite if they are not finite.

    Raises
    ------
    BackboneError
        The network cannot be copied, or a copy does not work.
    PrecisionError
        It works in float32 only; the message names the operation that does not.

    Examples
    --------
    >>> from bottleneck.backbones.probing.probe import probe
    >>> from bottleneck.backbones.layers.listing import list_layers
    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3)).eval()
    >>> truncated = TruncatedNetwork(network, list_layers(network, 8))
    >>> copied = UntracedNetwork(
    ...     truncated, probe(truncated, 8), dtype=torch.float32, device=torch.device("cpu")
    ... )
    >>> copied(torch.zeros(4, 3, 8, 8))["0"].shape
    torch.Size([4, 8])
    """

    def __init__(
        self,
        truncated: TruncatedNetwork,
        probe: Probe,
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._lock, self._one_by_one = Lock(), not probe.takes_batches
        self._images = probe.images.to(device, dtype)
        formats = [_CHANNELS_LAST, _CONTIGUOUS]
        if dtype is torch.float32:
            formats.append(_UNROUNDED)
        errors: list[BaseException] = []
        self.deviation = torch.inf
        for chosen in formats:
            self._use(truncated, chosen, dtype, device)
            try:
                self.deviation = max(self._deviation(probe, images) for images in (2, 1))
            except USER_CODE_EXCEPTIONS as error:
                errors.append(error)
                continue
            if self.deviation <= _TOLERANCE[dtype]:
                return
        if len(errors) == len(formats):
            self._fail(errors[-1], dtype)
        if dtype is torch.float32:
            apart = f" by {self.deviation:.1%}" if self.deviation < torch.inf else ""
            raise BackboneError(
                f"a copy of the network gives codes that differ{apart} from its own", hint=_COPYABLE
            )

    def __call__(self, batch: Tensor) -> dict[str, Tensor]:
        """Compute the codes of a batch.

        Parameters
        ----------
        batch : Tensor, shape (n, 3, height, width)
            Normalised, on the copy's device and in its precision.

        Returns
        -------
        dict of str to Tensor of float32, shape (n, *code_shape)
            By layer.
        """
        batch = batch.contiguous(memory_format=self._format.memory_format)
        with self._lock:
            if not self._one_by_one:
                return self._forward(batch)
            parts = [self._forward(image[None].clone()) for image in batch]
        return {layer: torch.cat([part[layer] for part in parts]) for layer in parts[0]}

    def _use(
        self,
        truncated: TruncatedNetwork,
        chosen: _CopyFormat,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Copy the network, to run in one format."""
        with errors_in_one_line(
            "the network can be neither traced nor copied",
            hint=_COPYABLE,
        ):
            network: nn.Module = copy.deepcopy(truncated.network)
        if chosen.rounded:
            cast_module(network, device, dtype)
        network.to(device)
        if chosen.memory_format is torch.channels_last:
            use_channels_last(network)
        self._format = chosen
        self._forward = TruncatedNetwork(
            network, truncated.layers, relu=truncated.relu, pool=truncated.pool
        )

    def _deviation(self, probe: Probe, images: int) -> float:
        """Return the largest difference of a layer's codes of the first images from the probe's.

        Codes that are not finite differ most. A copy may read what another one keeps of its last
        pass: of two images, and of one afterwards, that cannot be right both times.
        """
        codes, largest = self(self._images[:images].clone()), 0.0
        for layer, expected in probe.codes.items():
            code, found = expected[:images], codes[layer]
            if not bool(torch.isfinite(code).all()):
                continue  # a difference from them says nothing
            same = found.shape == code.shape and bool(torch.isfinite(found).all())
            largest = max(largest, difference(code, found) if same else torch.inf)
        return largest

    def _fail(self, error: BaseException, dtype: torch.dtype) -> None:
        where = failing_operation(lambda: self(self._images.clone()))
        what = f"{where}: {describe_error(error)}" if where else describe_error(error)
        if dtype is torch.float32:
            raise BackboneError(f"a copy of the network failed: {what}", hint=_COPYABLE) from error
        name = str(dtype).removeprefix("torch.")
        raise PrecisionError(
            f"the network does not run in {name}: {what}",
            parameter="precision",
            value=name,
            allowed="float32",
            hint="`precision=float32` works",
        ) from error
