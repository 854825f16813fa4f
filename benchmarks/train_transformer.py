"""Ratio of training speeds of `Transformer` and `torch.nn.Transformer`, interleaved.

    python benchmarks/train_transformer.py [--vocab 8000] [--rounds 8]

Both have the same sizes (4 + 4 layers, d_model 128, d_feedforward 256, 4 heads, dropout 0.1), the
same batches (about 4,096 target tokens, lengths as in image captions) and the same optimizer; the
peer has separate embeddings and an output layer with PyTorch's cross-entropy. Steps alternate; the
median of the ratios of their times is printed.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

import seqlearn as sl
from seqlearn.batch import SequenceBatch, length_mask
from seqlearn.nn import sinusoidal


class Peer(nn.Module):
    """`torch.nn.Transformer` with embeddings, positions and an output layer."""

    def __init__(self, vocab: int) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(vocab, 128), nn.Embedding(vocab, 128)
        self.transformer = nn.Transformer(128, 4, 4, 4, 256, dropout=0.1, batch_first=True)
        self.head = nn.Linear(128, vocab)

    def loss(self, batch: SequenceBatch) -> Tensor:
        """Mean cross-entropy over real tokens."""
        source, target = batch.source, batch.target
        assert source is not None
        assert batch.source_lengths is not None
        inputs, labels = target[:, :-1], target[:, 1:]
        padded = ~length_mask(batch.source_lengths, source.shape[1])
        hidden = self.transformer(
            self.source(source) * 128**0.5 + sinusoidal(0, source.shape[1], 128),
            self.target(inputs) * 128**0.5 + sinusoidal(0, inputs.shape[1], 128),
            src_key_padding_mask=padded,
            memory_key_padding_mask=padded,
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(inputs.shape[1]),
            tgt_is_causal=True,
        )
        return functional.cross_entropy(
            self.head(hidden).flatten(0, 1), labels.flatten(), ignore_index=0, label_smoothing=0.1
        )


def captions(vocab: int) -> SequenceBatch:
    """A bucketed batch: lengths within two tokens of one another."""
    length = int(torch.randint(10, 30, ()))
    rows = 4096 // length

    def side(extra: int) -> tuple[Tensor, Tensor]:
        lengths = torch.randint(length - 2, length + 1, (rows,)) + extra
        ids = torch.randint(4, vocab, (rows, length + extra))
        return ids * length_mask(lengths, length + extra), lengths

    return SequenceBatch(*side(0), *side(2))


def main() -> None:
    """Print the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--vocab", type=int, default=8000)
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    torch.manual_seed(0)
    side = sl.TextSpec(options.vocab, 40)
    mine = sl.Transformer(sl.SequenceSpec(side, side), d_model=128, d_feedforward=256, dropout=0.1)
    peer = Peer(options.vocab)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=1e-4) for model in (mine, peer)]

    def seconds(number: int, batch: SequenceBatch) -> float:
        start = time.perf_counter()
        if number == 0:
            measured = mine.compute_loss(batch, smoothing=0.1)
            loss = measured.loss / measured.num_tokens
        else:
            loss = peer.loss(batch)
        loss.backward()
        optimizers[number].step()
        optimizers[number].zero_grad()
        return time.perf_counter() - start

    ratios = []
    for round_ in range(options.rounds + 1):
        batch = captions(options.vocab)
        times = [seconds(0, batch), seconds(1, batch)]
        if round_:  # the first warms up
            ratios.append(times[1] / times[0])
    low, high = min(ratios), max(ratios)
    print(f"seqlearn / nn.Transformer, steps per second: {statistics.median(ratios):.2f}", end=" ")
    print(
        f"(from {low:.2f} to {high:.2f} over {options.rounds} rounds, vocabulary {options.vocab})"
    )


if __name__ == "__main__":
    main()
