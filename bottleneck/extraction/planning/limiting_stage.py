"""Find the stage that limits an extraction, and advise on it."""

from bottleneck.runtime import StageTimer

_ADVICE = {
    "read": "reading is the limit: raise `workers`, or move the images to a faster disk",
    # Not `workers`: more threads would share the cores that are the bottleneck.
    "decode": "decoding is the limit: store the images smaller, or use more cores",
    "forward": "the network is the limit: a GPU, an earlier layer or a smaller network would help",
    "write": "writing is the limit: a faster disk for the cache would help",
}
STAGES = tuple(_ADVICE)


def slowest_stage(timer: StageTimer) -> str:
    """Return the stage of an extraction that limits its speed.

    Parameters
    ----------
    timer : StageTimer
        With the stages ``read`` and ``decode``; ``forward`` and ``wait``, which the network's
        threads spend on getting images; and ``blocked``, which they spend on waiting for the
        writer.

    Returns
    -------
    str
        ``"read"``, ``"decode"``, ``"forward"`` or ``"write"``.

    Examples
    --------
    >>> timer = StageTimer()
    >>> timer.add({"wait": 3.0, "forward": 1.0, "read": 0.1, "decode": 2.0})
    >>> slowest_stage(timer)
    'decode'
    """
    fractions = timer.fractions("wait", "forward", "blocked")
    # If the writer keeps up, nothing ever waits for it: a fifth is much. A network on the CPU
    # always waits a little for images, which the same cores decode: half is much.
    if fractions["blocked"] > 0.2:
        return "write"
    if fractions["wait"] > 0.5:
        decoding = timer.fractions("read", "decode")
        return "read" if decoding["read"] > decoding["decode"] else "decode"
    return "forward"


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
    return _ADVICE[stage]
