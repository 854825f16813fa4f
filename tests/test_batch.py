from __future__ import annotations

import torch

from seqlearn.batch import SequenceBatch, causal_mask, length_mask, pad


def test_length_mask_is_true_where_real() -> None:
    mask = length_mask(torch.tensor([0, 2, 3]), 3)
    assert mask.tolist() == [[False] * 3, [True, True, False], [True] * 3]


def test_causal_mask_lets_the_last_queries_see_their_past() -> None:
    assert causal_mask(2, 3).tolist() == [[True, True, False], [True, True, True]]
    assert causal_mask(1, 1).tolist() == [[True]]


def test_pad_takes_any_lengths() -> None:
    ids, lengths = pad([[5, 6], [], [7]])
    assert ids.tolist() == [[5, 6], [0, 0], [7, 0]]
    assert lengths.tolist() == [2, 0, 1]
    assert pad([[]])[0].shape == (1, 0)
    assert pad([])[0].shape == (0, 0)


def test_repeats_are_known() -> None:
    target = torch.zeros(3, 2, dtype=torch.long)
    batch = SequenceBatch(None, None, target, torch.tensor([2, 2, 2]))
    assert batch.is_duplicate.tolist() == [False] * 3
    assert batch._replace(indices=torch.tensor([0, 1, ~0])).is_duplicate.tolist() == [
        False,
        False,
        True,
    ]
