"""A type of one's own that a decoder generates: a route, one move after the other."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

import seqlearn as sl
from seqlearn.batch import END, PAD, START, UNKNOWN, length_mask, pad
from seqlearn.metrics import TokenStatistics

MOVES = ("up", "down", "left", "right")


@dataclass(frozen=True)
class RouteSpec(sl.spec.GeneratedSpec):
    kind: ClassVar[str] = "route"
    is_sequence: ClassVar[bool] = True
    methods: ClassVar[tuple[str, ...]] = ("generate", "score")
    is_readable_text: ClassVar[bool] = False
    output_size: ClassVar[int] = 4 + len(MOVES)
    suppressed_ids: ClassVar[tuple[int, ...]] = (PAD, UNKNOWN, START)
    row_format: ClassVar[sl.spec.RowFormat] = sl.spec.RowFormat("int32")

    max_length: int = 1

    @property
    def longest(self):
        return max(1, self.max_length)

    def diff(self, other):
        return None

    def describe(self, value):
        return " ".join(value)

    def tokens(self, ids):  # names in recordings
        return [(*"-?[]", *MOVES)[i] for i in ids]

    def random_value(self, rng, length):
        return [rng.randrange(4, self.output_size) for _ in range(length)]

    def encode(self, values, *, label="input"):
        return [[4 + MOVES.index(move) for move in route] for route in values]

    def decode(self, ids):
        return [tuple(MOVES[i - 4] for i in row if i >= 4) for row in ids]

    def make_target_embedding(self, d_model):
        return nn.Embedding(self.output_size, d_model)

    def collate_targets(self, encoded, device, dtype):
        return pad([[START, *ids, END] for ids in encoded], device)

    def labels_of(self, batch):
        labels = batch.target[:, 1:]
        mask = length_mask(batch.target_lengths - 1, labels.shape[1])
        return labels, mask & ~batch.is_duplicate[:, None]

    def count_items(self, lengths):
        return lengths - 1

    def item_loss(self, outputs, labels):
        return functional.cross_entropy(outputs, labels, reduction="none")

    def compute_loss(self, hidden, labels, head, *, smoothing=0.0):
        outputs = head(hidden)
        nll = self.item_loss(outputs, labels)
        loss = functional.cross_entropy(outputs, labels, reduction="sum", label_smoothing=smoothing)
        count = torch.tensor(len(labels))
        return sl.spec.TargetLoss(loss, count, nll.detach(), outputs.argmax(-1) == labels)

    def make_metrics(self):
        return TokenStatistics()

    def decode_outputs(self, outputs):
        return self.decode_labels(outputs.argmax(-1))

    def decode_labels(self, target):
        return self.decode(target.tolist())


@dataclass(frozen=True)
class Route(sl.data.Field):
    spec_type: ClassVar[type] = RouteSpec

    def check(self, value):
        if unknown := set(value) - set(MOVES):
            raise ValueError(f"expected moves among {MOVES}, got {sorted(unknown)}")

    def digest(self):
        return None

    def make_spec(self, values):
        return RouteSpec()

    def make_column_encoder(self, spec, describe_row, *, is_target):
        return sl.data.ArrayEncoder(
            spec,
            describe_row,
            is_target=True,
            encode=lambda route: [START, *spec.encode([route])[0], END],
            update_spec=lambda spec, longest: replace(
                spec, max_length=max(spec.max_length, longest - 2)
            ),
        )


class Directions(sl.data.SequenceDataModule):
    """From a place (x, y) to a route: right or left, then up or down."""

    def __init__(self):
        super().__init__(sl.data.Vector(2), Route(), batch_tokens=64)

    def examples(self, split):
        for x in (-1, 0, 1):
            for y in (-1, 0, 1):
                across, along = "right" if x > 0 else "left", "up" if y > 0 else "down"
                yield (x, y), (across,) * abs(x) + (along,) * abs(y)
