"""Executors that stand in for a cluster's."""


class Elsewhere:
    """An executor whose workers have another file system."""

    max_concurrency = 1

    def run_on_each_worker(self, function: object) -> dict[str, str]:
        return {"tcp://node7": "the cache /data/photos.cache"}

    def map_unordered(self, function: object, items: object) -> None:
        raise AssertionError("work has begun")
