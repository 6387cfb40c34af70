"""The Hugging Face hub where there is no network: its cache is used at once, without retries.

The hub's own code tries for half a minute to reach it, with a line on the terminal for each
attempt, before it looks into its cache.
"""

import logging
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hub_access() -> Iterator[str]:
    """Let the hub's code use its cache alone if the hub's name cannot be resolved.

    Yields
    ------
    str
        Why the hub is not used; empty if it is.

    Examples
    --------
    >>> with hub_access() as reason:
    ...     reachable = not reason
    """
    from huggingface_hub import constants

    host = urllib.parse.urlsplit(constants.ENDPOINT).hostname or ""
    before = constants.HF_HUB_OFFLINE
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    constants.HF_HUB_OFFLINE = before or not _is_resolved(host)
    logger.setLevel(logging.ERROR)  # our error has the information of its warnings
    try:
        yield f"no connection to {host}, and not in its cache" if constants.HF_HUB_OFFLINE else ""
    finally:
        constants.HF_HUB_OFFLINE = before
        logger.setLevel(level)


def _is_resolved(host: str) -> bool:
    if urllib.request.getproxies():  # a proxy resolves names itself
        return True
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
