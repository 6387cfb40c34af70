"""LocalRunner: a cache, a network and devices, with which a process makes shards."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import torch

from bottleneck.backbones.backbone import Backbone
from bottleneck.backbones.layers import Layer, list_layers, select_layers
from bottleneck.cache.store import Cache
from bottleneck.extraction.encoder import Encoder
from bottleneck.extraction.pipeline import write_shards
from bottleneck.runtime.timing import StageTimer

MissingShards = dict[tuple[str, ...], list[int]]  # shards to make, by the layers that lack them


class Network:
    """A backbone whose layers are looked at only when somebody asks for them.

    Looking is a forward pass, and a run that has nothing to do shall not make one.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone

    @cached_property
    def layers(self) -> list[Layer]:
        """All of them; see `bottleneck.backbones.layers.list_layers`."""
        return list_layers(self.backbone.network, self.backbone.preprocess.crop)

    def choose(self, names: Sequence[str]) -> list[Layer]:
        """Those of the given names; see `bottleneck.backbones.layers.select_layers`."""
        return select_layers(self.layers, names)

    def largest_code(self, names: Sequence[str], pool: str) -> int:
        """The values of a code, at the layer that has most."""
        return max(layer.code_size(pool) for layer in self.choose(names))


class LocalRunner:
    """Makes shards of a cache, in this process.

    Parameters
    ----------
    cache : Cache
        As it stands.
    network : Network
        Of the cache's spec.
    images : Path
        The folder that the images' paths are relative to.
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
        As `bottleneck.backbones.runner.BatchRunner.fitting`.
    """

    def __init__(
        self,
        cache: Cache,
        network: Network,
        *,
        images: Path,
        devices: Sequence[torch.device],
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        self.clock = StageTimer()
        self.fitting: int | None = None
        self._cache, self._network, self._images = cache, network, images
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
                root=self._images,
                batch_size=self._batch_size or encoder.lanes.batch,
                workers=self._workers,
            )
            self.fitting = encoder.lanes.fitting or self.fitting

    def encoder(self, names: tuple[str, ...]) -> Encoder:
        """That of some layers; made once, which takes a few forward passes."""
        if names not in self._encoders:
            spec = self._cache.spec
            self._encoders[names] = Encoder(
                self._network.backbone,
                self._network.choose(names),
                relu=spec.relu,
                pool=spec.pool,
                precision=spec.precision,
                devices=self._devices,
                clock=self.clock,
            )
        return self._encoders[names]
