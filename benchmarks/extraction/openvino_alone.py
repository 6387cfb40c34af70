"""A truncated network by OpenVINO alone, as its documentation advises for many images."""

import time
from collections.abc import Callable

import numpy as np
import torch

from bottleneck.backbones import Backbone
from bottleneck.backbones.inference.openvino_replica import PRECISIONS, to_openvino_model
from bottleneck.backbones.layers.truncated import TruncatedNetwork


def throughput_mode(
    backbone: Backbone, layer: str, precision: str, images: int
) -> Callable[[int], tuple[float, float]]:
    """Return a function that runs a network over random pixels in a queue of requests.

    Parameters
    ----------
    backbone : Backbone
    layer : str
        Where the network is cut off; its output is averaged.
    precision : str
        ``"float32"`` or ``"bfloat16"``.
    images : int
        Images in a request.

    Returns
    -------
    callable
        Takes a number of images, of which at least one request for each of the queue's places is
        made. Returns the wall and processor time of an image, in seconds.
    """
    import openvino

    truncated = TruncatedNetwork(
        backbone.network, backbone.select_layers([layer]), relu=True, pool="avg"
    )
    options = {
        "PERFORMANCE_HINT": "THROUGHPUT",
        "INFERENCE_PRECISION_HINT": PRECISIONS[getattr(torch, precision)],
    }
    model = to_openvino_model(truncated, backbone.transform, images=images)
    queue = openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", options))
    side = backbone.transform.crop
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), dtype=np.uint8)

    def run(count: int) -> tuple[float, float]:
        requests = max(len(queue), count // images)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(requests):
            queue.start_async([pixels])
        queue.wait_all()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return wall / requests / images, cpu / requests / images

    return run
