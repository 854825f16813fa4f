"""Examples of the evaluated split: which ones are measured, and what models answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from lightning.fabric.utilities import move_data_to_device

from seqlearn.batch import SequenceBatch
from seqlearn.callbacks.probe_batch import first_rows
from seqlearn.core import SequenceModule
from seqlearn.core.generation import batch_sources, references
from seqlearn.data import SequenceDataModule
from seqlearn.data.encoded import EncodedDataset
from seqlearn.data.module import Split

MEASURED = 500
"""Examples of which the quality by length is measured."""

SAMPLES = 6
"""Examples whose answers are shown."""

_ROWS, _TOKENS = 32, 2**14  # of a batch
_LONGEST_SHOWN = 40  # tokens of the example whose activations are shown
_CONTINUED = 40  # tokens that a language model adds


class Answer(NamedTuple):
    """An example with the answer of a model.

    Attributes:
        source: What the model got.
        expected: The target.
        predicted: The answer.
    """

    source: str
    expected: str
    predicted: str


def evaluated_split(data: SequenceDataModule) -> Split:
    """The split on which quality is measured: test, or validation without a test split.

    Raises:
        ValueError: If there is neither.
    """
    for split in ("test", "val"):
        if len(data.dataset(split)):
            return split
    raise ValueError(
        f"{type(data).__name__} has neither a test nor a validation split, so nothing can be "
        "compared; add one (val=0.1 in sources of files)"
    )


def single_examples(data: SequenceDataModule, split: Split) -> EncodedDataset | None:
    """The examples of a split; `None` if its batches are parts of a stream."""
    found = data.batch_dataset(split)
    return found if isinstance(found, EncodedDataset) else None


def lengths_of(dataset: EncodedDataset) -> np.ndarray:
    """The length of each example: of its source, or of its target if there is no source."""
    lengths = dataset.source_lengths
    return lengths if lengths.any() else dataset.target_lengths


def spaced_rows(dataset: EncodedDataset, count: int) -> list[int]:
    """Evenly spaced rows of a split."""
    return sorted({int(row) for row in np.linspace(0, len(dataset) - 1, min(count, len(dataset)))})


def batches_of(dataset: EncodedDataset, rows: Sequence[int]) -> Iterator[list[int]]:
    """Batches of rows of similar length."""
    lengths = np.maximum(dataset.source_lengths, dataset.target_lengths)
    batch: list[int] = []
    for row in sorted(rows, key=lambda row: lengths[row]):
        if batch and (len(batch) == _ROWS or (len(batch) + 1) * lengths[row] > _TOKENS):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def probe_of(data: SequenceDataModule, split: Split, rows: int = 8) -> SequenceBatch:
    """The same few examples for every model."""
    dataset = single_examples(data, split)
    if dataset is not None:
        return dataset[spaced_rows(dataset, rows)]
    loader: Any = data.test_dataloader() if split == "test" else data.val_dataloader()
    batch: SequenceBatch = first_rows(next(iter(loader)), rows)
    return batch


def shown_example(dataset: EncodedDataset) -> int:
    """The row whose activations are shown: of median length, but not long."""
    rows = spaced_rows(dataset, MEASURED)
    lengths = np.maximum(dataset.source_lengths, dataset.target_lengths)[rows]
    wanted = min(float(np.median(lengths)), _LONGEST_SHOWN)
    return rows[int(np.abs(lengths - wanted).argmin())]


def predict(module: SequenceModule, batch: SequenceBatch) -> list[Any]:
    """The answers to a batch, without its targets; a language model continues half of each text."""
    if module.spec.source is not None:
        if module.spec.target.needs_decoder:
            return list(module.generate_batch(batch))
        return list(module.predict(batch_sources(module.spec, batch)))
    prompts, _ = halves(batch)
    added: list[Any] = []
    for prompt in prompts:
        (text,) = module.generate(prompts=[prompt], max_new_tokens=_CONTINUED)
        added.append(text)
    return added


def halves(batch: SequenceBatch) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of each target text, in two halves; without start and end."""
    assert batch.target_lengths is not None
    prompts, rests = [], []
    for ids, length in zip(batch.target.tolist(), batch.target_lengths.tolist(), strict=True):
        text = ids[1 : length - 1]
        prompts.append(text[: (len(text) + 1) // 2])
        rests.append(text[(len(text) + 1) // 2 :])
    return prompts, rests


def answers(module: SequenceModule, dataset: EncodedDataset, count: int = SAMPLES) -> list[Answer]:
    """Examples with the answers of a model, as texts."""
    found = []
    spec = module.spec
    target: Any = spec.target
    for row in spaced_rows(dataset, count):
        batch = move_data_to_device(dataset[[row]], module.device)
        (predicted,) = predict(module, batch)
        if spec.source is None:
            prompts, rests = halves(batch)
            sides = [target.describe(target.decode(half)[0]) for half in (prompts, rests)]
            whole = target.describe(predicted)
            said = whole.removeprefix(sides[0])
            found.append(Answer(sides[0], sides[1], said))
            continue
        (value,) = spec.source.decode(batch_sources(spec, batch))
        (expected,) = references(spec, batch)
        said = target.describe(predicted)
        found.append(Answer(spec.source.describe(value), target.describe(expected), said))
    return found
