"""Class weights of the loss, computed from the class frequencies of the training split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


def class_weights(
    weights: str | Mapping[str, float], labels: Sequence[str], counts: NDArray[np.int64]
) -> tuple[float, ...]:
    """Compute the weight of each label; the mean over the training examples is 1.

    With N training examples, K labels and n_c examples of label c, `"balanced"` is
    N / (K · n_c), as in scikit-learn. Given weights are scaled to w_c · N / Σ n_c · w_c, so that
    the mean loss per example keeps its scale.

    Args:
        weights: `"balanced"`, or a positive number for each label.
        labels: The labels in the order of their ids.
        counts: Number of training examples of each label.

    Raises:
        ValueError: If labels and weights do not match.

    Examples:
        >>> class_weights("balanced", ["no", "yes"], np.array([3, 1]))
        (0.6666666666666666, 2.0)
    """
    if isinstance(weights, str):
        raw = counts.sum() / (len(labels) * counts)
    else:
        wrong = sorted(set(weights) ^ set(labels))
        if wrong:
            raise ValueError(
                f"weights: expected one for each label of the training split, {list(labels)[:10]}, "
                f"but {wrong[0]!r} is only in {'weights' if wrong[0] in weights else 'the data'}"
            )
        raw = np.array([weights[label] for label in labels], dtype=np.float64)
    scaled = raw * counts.sum() / (raw @ counts)
    return tuple(float(weight) for weight in scaled)
