"""What is taken from a batch, and how its tokens are named."""

from __future__ import annotations

import torch

import seqlearn as sl
from seqlearn.callbacks.probe_batch import batch_tokens, first_rows


def batch(rows: int = 6) -> sl.SequenceBatch:
    """Sources of one to six tokens in a batch padded to seven."""
    draws = torch.Generator().manual_seed(0)
    source = torch.randint(4, 12, (rows, 7), generator=draws)
    target = torch.randint(4, 12, (rows, 5), generator=draws)
    lengths = torch.arange(rows) % 6 + 1
    return sl.SequenceBatch(source, lengths, target, 5 - torch.arange(rows) % 2)


def test_first_rows_of_any_batch() -> None:
    given = {"x": torch.arange(6).view(3, 2), "y": [torch.arange(3), torch.tensor(7)], "z": "text"}
    taken = first_rows(given, 2)
    assert taken["x"].tolist() == [[0, 1], [2, 3]]
    assert taken["y"][0].tolist() == [0, 1]
    assert taken["y"][1].item() == 7
    given["x"].zero_()
    assert taken["x"].tolist() == [[0, 1], [2, 3]]
    kept = first_rows(batch()._replace(references=tuple("abcdef"), indices=torch.arange(6)), 2)
    assert kept.references == ("a", "b")
    assert kept.indices.tolist() == [0, 1]


def test_tokens_of_a_batch() -> None:
    tokens = batch_tokens(first_rows(batch(), 2), None)[1]
    ids = batch().target[1].tolist()
    assert tokens.source == [str(i) for i in batch().source[1, :2].tolist()]
    assert tokens.decoder_input == [str(i) for i in ids[:3]]
    assert tokens.decoder_output == [str(i) for i in ids[1:4]]
    classes = sl.SequenceBatch(torch.randn(1, 3), None, torch.tensor([1]), None)
    assert batch_tokens(classes, None)[0].source == ["vector"]
    assert batch_tokens(classes, None)[0].decoder_output is None


def test_what_was_made_in_inference_mode_may_be_kept_by_autograd() -> None:
    with torch.inference_mode():
        given = batch()
    probe = first_rows(given, 2)
    embedding = torch.nn.Embedding(12, 2)
    embedding(probe.source).sum().backward()
    assert embedding.weight.grad.sum() == probe.source.numel() * 2
