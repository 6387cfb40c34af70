"""LocalRunner: a cache, a network and devices, with which a process makes shards."""

from collections.abc import Iterator, Sequence

import torch

from bottleneck.backbones.backbone import Backbone
from bottleneck.cache.store import Cache
from bottleneck.data.images import ImageSource
from bottleneck.extraction.encoder import Encoder
from bottleneck.extraction.pipeline import write_shards
from bottleneck.runtime.timing import StageTimer

MissingShards = dict[tuple[str, ...], list[int]]  # shards to make, by the layers that lack them


class LocalRunner:
    """Makes shards of a cache, in this process.

    Parameters
    ----------
    cache : Cache
        As it stands.
    backbone : Backbone
        Of the cache's spec.
    images : ImageSource
        Of the cache's images.
    devices : sequence of torch.device
    batch_size : int, optional
        Images in one forward pass; what serves the device best unless given.
    workers : int, optional
        As in `bottleneck.extraction.encoder.Encoder.stream`.

    Attributes
    ----------
    clock : StageTimer
        Where the time went.
    fitting : int or None
        As `bottleneck.backbones.runner.BatchRunner.max_batch_size`.
    """

    def __init__(
        self,
        cache: Cache,
        backbone: Backbone,
        *,
        images: ImageSource,
        devices: Sequence[torch.device],
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        self.clock = StageTimer()
        self.fitting: int | None = None
        self._cache, self._backbone, self._images = cache, backbone, images.with_table(cache.images)
        self._devices, self._batch_size, self._workers = devices, batch_size, workers
        self._encoders: dict[tuple[str, ...], Encoder] = {}

    def make(self, todo: MissingShards) -> Iterator[int]:
        """Make shards.

        Yields
        ------
        int
            Rows that were encoded, batch by batch.

        Raises
        ------
        BottleneckError, OSError
            As `bottleneck.extraction.pipeline.write_shards` does.
        """
        for names, shards in todo.items():
            encoder = self.encoder(names)
            yield from write_shards(
                self._cache,
                shards,
                encoder,
                source=self._images,
                batch_size=self._batch_size or encoder.runner.default_batch_size,
                workers=self._workers,
            )
            self.fitting = encoder.runner.max_batch_size or self.fitting

    def encoder(self, names: tuple[str, ...]) -> Encoder:
        """That of some layers; made once, which takes a few forward passes."""
        if names not in self._encoders:
            self._encoders[names] = Encoder(
                self._backbone,
                self._backbone.select_layers(names),
                self._cache.spec,
                self._devices,
                clock=self.clock,
            )
        return self._encoders[names]
