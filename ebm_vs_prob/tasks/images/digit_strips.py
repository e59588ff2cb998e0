"""Real digits of each class, drawn narrower or wider, and laid side by side in a strip of columns."""

from __future__ import annotations

import functools

import numpy as np

from ...core.seeding import numpy_generator, random_module_restored
from ...core.strips import StripShape

#: Rows and columns of a scanned digit, the greatest of its grey levels, and how many classes there are.
SIDE, MAX_LEVEL, CLASSES = 8, 16, 10


@functools.cache
def _scans() -> tuple[np.ndarray, ...]:
    """Of each class all scans, (n, rows, columns) in [0, 1] (Alpaydin and Kaynak 1998, as scikit-learn ships them)."""
    with random_module_restored():
        from sklearn.datasets import load_digits

    found = load_digits()
    pictures = found.images / MAX_LEVEL
    return tuple(pictures[found.target == label] for label in range(CLASSES))


@functools.lru_cache(maxsize=16)
def templates(exemplars: int, seed: int, narrowest: int, widest: int) -> np.ndarray:
    """Chosen scans of each class at every width: (classes, widths, exemplars, widest, rows) float64, columns that a
    width lacks zero.

    A width's columns lie evenly over the scan's, each interpolated linearly between the two scanned ones beside it.
    """
    chosen = []
    for label, scans in enumerate(_scans()):
        rng = numpy_generator(seed, "exemplars", label)
        chosen.append(scans[rng.permutation(len(scans))[:exemplars]])
    columns = np.stack(chosen).swapaxes(-1, -2)
    found = np.zeros((CLASSES, widest - narrowest + 1, exemplars, widest, SIDE))
    for width in range(narrowest, widest + 1):
        found[:, width - narrowest, :, :width] = interpolation(SIDE, width) @ columns
    found.flags.writeable = False
    return found


def interpolation(old: int, new: int) -> np.ndarray:
    """The matrix (new, old) that interpolates `old` columns linearly at `new` ones, first and last kept."""
    at = np.linspace(0.0, old - 1.0, new) if new > 1 else np.array([(old - 1) / 2])
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(old)))


def laid(pictures: np.ndarray, starts: np.ndarray, shape: StripShape) -> np.ndarray:
    """Strips (n, columns, rows), each the sum of its pictures (n, T, widest, rows) from their starts (n, T) on."""
    strips = np.zeros((len(pictures), shape.columns + shape.widest, shape.rows))
    row = np.arange(len(pictures))[:, None]
    for place in range(shape.length):
        strips[row, starts[:, place, None] + np.arange(shape.widest)] += pictures[:, place]
    return strips[:, : shape.columns]


def drawn_widths(shape: StripShape, uniform: np.ndarray) -> np.ndarray:
    """Indices of widths (n, T) of tilings that are equally likely, made of uniforms (n, T)."""
    index, widths = np.zeros(len(uniform), dtype=np.int64), []
    for place in range(shape.length):
        following, log_ways = shape.tiling.following(place)
        shares = np.exp(log_ways - log_ways.max(1, keepdims=True))
        edges = (shares / shares.sum(1, keepdims=True)).cumsum(1)
        possible = np.where(shares > 0, np.arange(shape.num_widths), 0).max(1)  # sums that round below 1 end there
        width = np.minimum((uniform[:, place, None] >= edges[index]).sum(1), possible[index])
        widths.append(width)
        index = following[index, width]
    return np.stack(widths, 1)
