"""Quantization for the page: weights and vectors with a few bits per number, in base64.

Arrays are little-endian and row-major, as JavaScript's typed arrays expect.
"""

from __future__ import annotations

import base64
import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

Packed = dict[str, object]
"""Plain data for JSON: numbers, lists, and arrays as base64."""

MAX_DENSE = 128 * 128
"""An attention map with more weights is stored sparsely."""

MAX_KEPT = 16
"""The number of largest weights that are stored of each row of a sparse map."""

MAX_BLOCKS = 128
"""The whole of a sparse map is stored as means over at most this many blocks per axis."""

MAX_UNITS = 64
"""The most units that are stored of a vector, evenly spaced."""

_NATS = 40.0
_WEIGHT_STEPS = 65533
_NOT_A_WEIGHT = 65535
_VECTOR_STEPS = 127
_SCORE_STEPS, _MINUS_INFINITY, _NOT_A_SCORE = 32000, -32768, -32767
_NOT_A_NUMBER = -128
_MASKED = 1000.0


def pack_weights(weights: Float[Tensor, "query key"]) -> Packed:
    """Pack the weights of one head.

    A weight w is stored as 16 bits of ln(w / w_max), where w_max is the largest of its row: the
    score relative to the highest, to 0.0004 nats, down to 40 nats below. Code 0 is zero, 65535 is
    a number that is not finite. A large map stores the largest weights of each row, the sum of the
    others, and means over blocks for the picture of the whole map.

    Args:
        weights: Attention weights.

    Returns:
        `top`, the largest weight of each row, and `codes`; for a large map also `keys`, `rest`,
        `coarse` (the means, in 255 steps up to `coarse_top`) and `coarse_shape`.
    """
    values = weights.detach().float().cpu().numpy()
    rows, columns = values.shape
    finite = np.isfinite(values)
    known = np.where(finite, values, 0.0)
    tops = known.max(axis=1, initial=0.0)
    codes = np.zeros(values.shape, np.uint16)
    seen = known > 0
    # A difference of logarithms, for a quotient could underflow.
    nats = np.log(known, where=seen, out=np.zeros_like(known))
    nats -= np.log(tops, where=tops > 0, out=np.zeros_like(tops))[:, None]
    steps = np.rint((nats / _NATS + 1.0) * _WEIGHT_STEPS).clip(0, _WEIGHT_STEPS) + 1
    codes[seen] = steps[seen]
    codes[~finite] = _NOT_A_WEIGHT
    if rows * columns <= MAX_DENSE:
        return {"top": _base64(tops, "<f4"), "codes": _base64(codes, "<u2")}
    kept = min(MAX_KEPT, columns)
    keys = np.argpartition(codes, columns - kept, axis=1)[:, columns - kept :]
    keys = np.take_along_axis(keys, np.argsort(-np.take_along_axis(codes, keys, 1).astype(int)), 1)
    rest = known.sum(axis=1) - np.take_along_axis(known, keys, 1).sum(axis=1)
    coarse = _means(known)
    highest = float(coarse.max())
    return {
        "top": _base64(tops, "<f4"),
        "codes": _base64(np.take_along_axis(codes, keys, 1), "<u2"),
        "keys": _base64(keys, "<u4"),
        "rest": _base64(rest.clip(0.0), "<f4"),
        "coarse": _base64(np.rint(coarse * (255 / highest if highest else 0.0)), "u1"),
        "coarse_top": highest,
        "coarse_shape": list(coarse.shape),
    }


def pack_scores(scores: Float[Tensor, "query key"]) -> Packed:
    """Pack the scores of one head, before the softmax: 16 bits each, in steps of `scale` / 32,000.

    A finite score that is 1,000 below the highest of its row is a mask, such as -1e9: its weight
    is zero. So are all scores of a row that are equal and 1,000 below the highest of the head. They
    are stored as −∞, for as a part of the scale they would round all others to zero.

    Args:
        scores: Attention scores.

    Returns:
        `scale` (the largest absolute value, at least 1e-9) and `codes`, where -32768 is −∞ and
        -32767 any other number that is not finite.
    """
    values = scores.detach().float().cpu().numpy()
    known = np.isfinite(values)
    highest = values.max(axis=1, where=known, initial=-np.inf, keepdims=True)
    lowest = values.min(axis=1, where=known, initial=np.inf, keepdims=True)
    all_masked = (lowest == highest) & (highest < highest.max(initial=-np.inf) - _MASKED)
    values = np.where(known & (all_masked | (values < highest - _MASKED)), -np.inf, values)
    finite = np.isfinite(values)
    known = np.where(finite, values, 0.0)
    scale = max(1e-9, float(np.abs(known).max(initial=0.0)))
    codes = np.where(finite, np.rint(known / scale * _SCORE_STEPS), _NOT_A_SCORE)
    codes[values == -np.inf] = _MINUS_INFINITY
    return {"scale": scale, "codes": _base64(codes, "<i2")}


def pack_vectors(vectors: Float[Tensor, "time width"], max_units: int | None = MAX_UNITS) -> Packed:
    """Pack states or a gate: one byte per number, in 127 steps up to the largest absolute value.

    Args:
        vectors: One vector per step. Of a wide vector, evenly spaced units are stored.
        max_units: How many at most; all, if `None`.

    Returns:
        `steps`, `width` (of the original vector), `units` (which are stored), `scale` (the largest
        absolute value, at least 1e-9) and `codes`, where -128 is a number that is not finite.
    """
    steps, width = vectors.shape
    count = width if max_units is None else min(width, max_units)
    units = [math.floor((place + 0.5) * width / count) for place in range(count)]
    values = vectors.detach().float().cpu().numpy()[:, units]
    finite = np.isfinite(values)
    known = np.where(finite, values, 0.0)
    scale = max(1e-9, float(np.abs(known).max(initial=0.0)))
    codes = np.where(finite, np.rint(known / scale * _VECTOR_STEPS), _NOT_A_NUMBER)
    return {
        "steps": steps,
        "width": width,
        "units": units,
        "scale": scale,
        "codes": _base64(codes, "i1"),
    }


def _means(values: np.ndarray) -> np.ndarray:
    """Means over blocks, at most `MAX_BLOCKS` per axis."""
    for axis in (0, 1):
        size = values.shape[axis]
        starts = np.unique(np.arange(min(size, MAX_BLOCKS)) * size // min(size, MAX_BLOCKS))
        counts = np.diff(starts, append=size).reshape((-1, 1) if axis == 0 else (1, -1))
        values = np.add.reduceat(values, starts, axis=axis) / counts
    return values


def _base64(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode("ascii")
