"""A type of one's own: a sequence of vectors, such as a time series, as source."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

import seqlearn as sl
from seqlearn.batch import length_mask


@dataclass(frozen=True)
class SeriesSpec(sl.spec.SourceSpec):
    kind: ClassVar[str] = "user series"
    is_sequence: ClassVar[bool] = True

    size: int
    max_length: int = 0

    @property
    def longest(self):
        return max(1, self.max_length)

    @property
    def row_format(self):
        return sl.spec.RowFormat("float32", (self.size,))

    def diff(self, other):
        return None if self.size == other.size else f"size {self.size} against {other.size}"

    def describe(self, value):
        return f"{len(value)} vectors"

    def random_value(self, rng, length):
        numbers = [rng.randint(-4, 4) / 2 for _ in range(length * self.size)]
        return np.array(numbers, np.float32).reshape(length, self.size)

    def make_input_layer(self, d_model):
        return nn.Linear(self.size, d_model)

    def embed(self, layer, source, lengths):
        if source.shape[1] == 0:
            source = nn.functional.pad(source, (0, 0, 0, 1))
        return layer(source), length_mask(lengths.clamp(min=1), source.shape[1]), lengths == 0

    def encode(self, values, *, label="input"):
        rows = [np.asarray(value, np.float32).reshape(-1, self.size) for value in values]
        for number, row in enumerate(rows, 1):
            if not np.isfinite(row).all():
                raise ValueError(f"{label} {number}: expected finite numbers")
        return rows

    def decode(self, ids):
        return list(ids)

    def collate(self, encoded, device, dtype):
        lengths = torch.tensor([len(row) for row in encoded], device=device)
        rows = [torch.as_tensor(row, dtype=dtype).reshape(-1, self.size) for row in encoded]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), lengths

    def unbatch(self, source, lengths):
        return [row[:length] for row, length in zip(source, lengths.tolist(), strict=True)]


@dataclass(frozen=True)
class Series(sl.data.Field):
    spec_type: ClassVar[type] = SeriesSpec

    size: int

    def check(self, value):
        if len(value) and np.shape(value)[1:] != (self.size,):
            raise ValueError(f"expected vectors of {self.size} numbers, got {np.shape(value)}")

    def digest(self):
        return None

    def make_spec(self, values):
        return SeriesSpec(self.size)

    def make_column_encoder(self, spec, describe_row, *, is_target):
        return sl.data.ArrayEncoder(
            spec,
            describe_row,
            is_target=is_target,
            update_spec=lambda spec, longest: replace(
                spec, max_length=max(spec.max_length, longest)
            ),
        )


class Drifts(sl.data.SequenceDataModule):
    """5 to 29 steps of a random walk in two dimensions, and whether it drifts up or down."""

    def __init__(self, batch_tokens: int = 128):
        super().__init__(Series(2), sl.data.Classes(), batch_tokens=batch_tokens)

    def examples(self, split):
        rng = np.random.default_rng(["train", "val", "test"].index(split))
        for number in range(64 if split == "train" else 16):
            steps = rng.normal(size=(rng.integers(5, 30), 2))
            yield steps + ((1, 0) if number % 2 else (-1, 0)), "up" if number % 2 else "down"
