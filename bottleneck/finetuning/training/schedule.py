"""The learning rate over a training: a short rise, then half a cosine down to zero."""

import math

_WARM_UP = 0.05  # of the steps


def rate_factor(done: float) -> float:
    """Return the learning rate as a share of its largest value.

    The cosine is that of I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm
    restarts" (2017), without restarts; the warm-up that of P. Goyal et al., "Accurate, large
    minibatch SGD" (2017).

    Parameters
    ----------
    done : float
        Share of the schedule's steps before this one, from 0 to 1.

    Examples
    --------
    >>> [round(rate_factor(done), 3) for done in (0.0, 0.025, 0.05, 0.525, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if done < _WARM_UP:
        return done / _WARM_UP
    return (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))) / 2
