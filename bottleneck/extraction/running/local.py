"""LocalRunner: make shards of a cache in this process."""

from collections.abc import Iterator, Sequence

import torch

from bottleneck.backbones import Backbone
from bottleneck.cache import Cache, Series
from bottleneck.data import ImageSource
from bottleneck.extraction.encoding.encoder import Encoder
from bottleneck.extraction.options import ComputeOptions
from bottleneck.extraction.planning.missing_shards import MissingShards, layers_of, views_of
from bottleneck.extraction.running.pipeline import write_shards
from bottleneck.runtime import RunStats


class LocalRunner:
    """Make shards of a cache in this process.

    Parameters
    ----------
    cache : Cache
        The cache; it must be on the disk when shards are made.
    backbone : Backbone
        The network of the cache's spec.
    images : ImageSource
        The images of the cache, in any order.
    devices : sequence of torch.device
        Devices of one kind.
    compute : ComputeOptions
        `runtime`, `batch_size`, `workers` and `max_pixels` are used.
    encoder : Encoder, optional
        Of some layers, if it has been made already.

    Attributes
    ----------
    stats : RunStats
        The time of each stage, and the largest batch that fits into the device's memory.
    """

    def __init__(
        self,
        cache: Cache,
        backbone: Backbone,
        images: ImageSource,
        devices: Sequence[torch.device],
        compute: ComputeOptions,
        *,
        encoder: Encoder | None = None,
    ) -> None:
        self.stats = encoder.stats if encoder else RunStats()
        self._cache, self._backbone, self._images = cache, backbone, images.with_table(cache.images)
        self._devices, self._compute = devices, compute
        self._encoders: dict[frozenset[str], Encoder] = {}
        if encoder:
            self._encoders[frozenset(layer.name for layer in encoder.layers)] = encoder

    def use(self, cache: Cache) -> None:
        """Make shards of the cache as it is on the disk now; its spec is the same."""
        self._cache, self._images = cache, self._images.with_table(cache.images)

    def make(self, missing: MissingShards) -> Iterator[int]:
        """Make shards.

        Parameters
        ----------
        missing : dict of tuple of Series to list of int
            Shards by the series that lack them.

        Yields
        ------
        int
            Images that were encoded, batch by batch; an image counts once for each view.

        Raises
        ------
        NonFiniteCodesError, OSError
            The network or the disk failed. Finished shards stay.
        StopRequested
            A stop was requested. The shard in progress was finished.
        """
        for series, shards in missing.items():
            encoder = self._encoder(series, shards)
            yield from write_shards(self._cache, series, shards, encoder, self._images)

    def prepare(self, missing: MissingShards) -> None:
        """Prepare the network for shards, which takes a few forward passes.

        Parameters
        ----------
        missing : dict of tuple of Series to list of int
            Shards by the series that lack them.

        Raises
        ------
        BackboneError, PrecisionError
            The network does not give codes.
        InvalidOptionError
            The runtime that was asked for cannot run it.
        """
        for series, shards in missing.items():
            self._encoder(series, shards)

    def _encoder(self, series: Sequence[Series], shards: Sequence[int]) -> Encoder:
        """Return the encoder of some layers, made once; the first shards choose its runtime."""
        layers = layers_of(series)
        names = frozenset(layers)
        if names not in self._encoders:
            self._encoders[names] = Encoder(
                self._backbone,
                self._backbone.select_layers(layers),
                self._cache.spec,
                self._devices,
                compute=self._compute,
                stats=self.stats,
            )
        encoder = self._encoders[names]
        images = sum(len(self._cache.rows(shard)) for shard in shards)
        encoder.choose_runtime(images * len(views_of(series)))
        return encoder

    @property
    def notes(self) -> tuple[str, ...]:
        """Describe what is unusual in how codes are computed, a sentence each."""
        notes = (note for encoder in self._encoders.values() for note in encoder.runner.notes)
        return tuple(dict.fromkeys(notes))
