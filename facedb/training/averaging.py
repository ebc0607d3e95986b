"""How slowly a moving average of weights follows them."""

from __future__ import annotations


def decay_after(steps: int, most: float) -> float:
    """What the average keeps of itself after some steps: (1 + n) / (10 + n), at most `most`.

    As in TensorFlow's ExponentialMovingAverage: with `most` from the first step on, a short run
    would keep little but its first weights.
    """
    return min(most, (1 + steps) / (10 + steps))
