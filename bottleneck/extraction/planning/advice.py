"""Advice on the stage that limits an extraction."""

_STAGES = {
    "read": "reading is the limit: raise `workers`, or move the images to a faster disk",
    # Not `workers`: more threads would share the cores that are the bottleneck.
    "decode": "decoding is the limit: store the images smaller, or use more cores",
    "forward": "the network is the limit: a GPU, an earlier layer or a smaller network would help",
    "write": "writing is the limit: a faster disk for the cache would help",
}


def stage_advice(stage: str) -> str:
    """Return one sentence on the stage that limits an extraction.

    Parameters
    ----------
    stage : str
        ``"read"``, ``"decode"``, ``"forward"`` or ``"write"``.

    Examples
    --------
    >>> stage_advice("write")
    'writing is the limit: a faster disk for the cache would help'
    """
    return _STAGES[stage]
