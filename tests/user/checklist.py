"""A type of one's own: a fixed list of questions, each answered yes or no, as source or target."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import seqlearn as sl
from seqlearn.metrics import ClassStatistics


@dataclass(frozen=True)
class ChecklistSpec(sl.spec.SourceSpec, sl.spec.TargetSpec):
    kind: ClassVar[str] = "checklist"
    is_sequence: ClassVar[bool] = False
    needs_decoder: ClassVar[bool] = False
    methods: ClassVar[tuple[str, ...]] = ()
    longest: ClassVar[int] = 1
    is_readable_text: ClassVar[bool] = False

    questions: tuple[str, ...]

    @property
    def output_size(self):
        return len(self.questions)

    @property
    def row_format(self):
        return sl.spec.RowFormat("float32", (len(self.questions),))

    def diff(self, other):
        return None if self == other else f"{self.questions} against {other.questions}"

    def describe(self, value):
        return ", ".join(name for name, yes in zip(self.questions, value, strict=True) if yes)

    def random_value(self, rng, length):
        return [float(rng.randrange(2)) for _ in self.questions]

    # As a source

    def make_input_layer(self, d_model):
        return nn.Linear(len(self.questions), d_model)

    def embed(self, layer, source, lengths):
        return layer(source)[:, None], source.new_ones(len(source), 1, dtype=torch.bool), None

    def encode(self, values, *, label="input"):
        return [np.asarray(value, dtype=np.float32) for value in values]

    def decode(self, ids):
        return [[bool(number) for number in value] for value in ids]

    def collate(self, encoded, device, dtype):
        return torch.stack([torch.as_tensor(v, dtype=dtype) for v in encoded]).to(device), None

    def unbatch(self, source, lengths):
        return list(source)

    # As a target

    def make_target_embedding(self, d_model):
        return None

    def collate_targets(self, encoded, device, dtype):
        return self.collate(encoded, device, dtype)

    def labels_of(self, batch):
        return batch.target[:, None], ~batch.is_duplicate[:, None]

    def item_loss(self, outputs, labels):
        return functional.binary_cross_entropy_with_logits(outputs, labels, reduction="none")

    def count_items(self, lengths):
        return np.full_like(lengths, len(self.questions))

    def compute_loss(self, hidden, labels, head, *, smoothing=0.0):
        outputs = head(hidden)
        loss = self.item_loss(outputs, labels)
        correct = (outputs > 0) == (labels > 0.5)
        return sl.spec.TargetLoss(loss.sum(), torch.tensor(loss.numel()), loss.detach(), correct)

    def make_metrics(self):
        return ClassStatistics()

    def decode_outputs(self, outputs):
        return [[bool(number > 0) for number in row] for row in outputs]

    def decode_labels(self, target):
        return self.decode(target)


@dataclass(frozen=True)
class Checklist(sl.data.Field):
    spec_type: ClassVar[type] = ChecklistSpec

    questions: tuple[str, ...]

    def check(self, value):
        if len(value) != len(self.questions):
            raise ValueError(f"expected {len(self.questions)} answers, got {len(value)}")

    def digest(self):
        return None

    def make_spec(self, values):
        return ChecklistSpec(self.questions)

    def make_column_encoder(self, spec, describe_row, *, is_target):
        return sl.data.ArrayEncoder(spec, describe_row, is_target=is_target)


class Animals(sl.data.SequenceDataModule):
    """From answers to a name, or from a name to its answers."""

    NAMES: ClassVar[dict] = {"hen": (1, 0, 1), "bat": (1, 1, 0), "cow": (0, 1, 0), "eel": (0, 0, 1)}

    def __init__(self, to_name: bool = True):
        name, answers = sl.data.Text(), Checklist(("flies", "milk", "eggs"))
        super().__init__(*((answers, name) if to_name else (name, answers)), batch_tokens=64)
        self.to_name = to_name

    def examples(self, split):
        pairs = [(answers, name) for name, answers in self.NAMES.items()]
        return pairs if self.to_name else [pair[::-1] for pair in pairs]
