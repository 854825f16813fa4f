"""Numbers made small for a page: weights and vectors as a few bits each, in base64.

Arrays are little-endian and row-major, as JavaScript's typed arrays read them.
"""

from __future__ import annotations

import base64
import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

Packed = dict[str, object]
"""Plain data for JSON: numbers, lists, and arrays as base64."""

DENSE = 128 * 128
"""A map of more weights is kept sparse."""

KEPT = 16
"""Of each row of a sparse map so many of the greatest weights are kept."""

COARSE = 128
"""The rest of a sparse map is kept as means over at most so many blocks each way."""

UNITS = 64
"""Of a vector at most so many numbers are kept, evenly spaced."""

_NATS = 40.0
_WEIGHT_STEPS = 65533
_NOT_A_WEIGHT = 65535
_VECTOR_STEPS = 127
_NOT_A_NUMBER = -128


def pack_weights(weights: Float[Tensor, "query key"]) -> Packed:
    """Pack the weights of one head.

    A weight w is kept as 16 bits of ln(w / w_max), w_max the greatest of its row: scores relative
    to the highest, in nats, to 0.0004, down to 40 nats below. Code 0 is zero, 65535 is no finite
    number. A large map keeps the greatest weights of each row, the sum of the others, and means
    over blocks for the picture as a whole.

    Args:
        weights: Attention weights.

    Returns:
        `top`, the greatest weight of each row, and `codes`; of a large map `keys`, `rest`,
        `coarse` (the means, of 255 steps up to `coarse_top`) and `coarse_shape` as well.
    """
    values = weights.detach().float().numpy()
    rows, columns = values.shape
    finite = np.isfinite(values)
    known = np.where(finite, values, 0.0)
    tops = known.max(axis=1, initial=0.0)
    codes = np.zeros(values.shape, np.uint16)
    seen = known > 0
    # Divided as logarithms: a quotient could underflow.
    nats = np.log(known, where=seen, out=np.zeros_like(known))
    nats -= np.log(tops, where=tops > 0, out=np.zeros_like(tops))[:, None]
    steps = np.rint((nats / _NATS + 1.0) * _WEIGHT_STEPS).clip(0, _WEIGHT_STEPS) + 1
    codes[seen] = steps[seen]
    codes[~finite] = _NOT_A_WEIGHT
    if rows * columns <= DENSE:
        return {"top": _base64(tops, "<f4"), "codes": _base64(codes, "<u2")}
    kept = min(KEPT, columns)
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


def pack_vectors(vectors: Float[Tensor, "time width"]) -> Packed:
    """Pack states or a gate: a byte a number, in 127 steps up to the greatest, either way.

    Args:
        vectors: One vector a step. Of a wide one evenly spaced units are kept.

    Returns:
        `steps`, `width` (before units were left out), `units` (which were kept), `scale` (the
        greatest size, at least 1e-9) and `codes`, in which -128 is no finite number.
    """
    steps, width = vectors.shape
    count = min(width, UNITS)
    units = [math.floor((place + 0.5) * width / count) for place in range(count)]
    values = vectors.detach().float().numpy()[:, units]
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
    """Means over blocks, at most `COARSE` each way."""
    for axis in (0, 1):
        size = values.shape[axis]
        starts = np.unique(np.arange(min(size, COARSE)) * size // min(size, COARSE))
        counts = np.diff(starts, append=size).reshape((-1, 1) if axis == 0 else (1, -1))
        values = np.add.reduceat(values, starts, axis=axis) / counts
    return values


def _base64(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode("ascii")
