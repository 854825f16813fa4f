"""`SampleLogger`: what a module answers, as text, as training goes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from seqlearn.batch import END, PAD, START, SequenceBatch, pad
from seqlearn.callbacks.figure_logger import FigureLogger
from seqlearn.callbacks.observer import Observer
from seqlearn.core import SequenceModule
from seqlearn.core.generation import batch_sources
from seqlearn.spec import ClassesSpec, TextSpec
from seqlearn.spec.raw_inputs import EncodedIds

Rows = Sequence[tuple[str, ...]]


class Samples(NamedTuple):
    """What a look finds out: a table of texts.

    Attributes:
        columns: The name of each column.
        rows: One text for each column.
    """

    columns: tuple[str, ...]
    rows: Rows


class SampleLogger(Observer):
    """Log what a module predicts for a few sources: source, what was expected, what came.

    A text is generated greedily, a class comes with its probability, a vector as its numbers. A
    language model gets the first half of each text as a prompt, and goes on for as long as the
    text does. The table goes to TensorBoard (Markdown), W&B and MLflow as `samples`; where there
    is none of these, a UTF-8 text file is written for each look.

    Args:
        every_n_epochs: Log at the end of every n-th training epoch; `None` for never.
        every_n_steps: Log after every n-th optimizer step; `None` for never.
        sources: Raw sources (of a language model, prompts) to answer instead of the probe's; what
            is expected is then not known.
        probe: The batch to answer. By default the first rows of the first validation batch or,
            if a look is due before there was one, of the first training batch; taken once a fit.
        run: For a module that is no `SequenceModule`: from the module and the probe to a list of
            rows, tuples of texts.
        columns: Names for what is in the rows of `run`.
        examples: Rows to take from the first batch.
        directory: Where to write text files, also beside a logger that takes texts; by default
            they are written only where there is none, to `samples` in the logger's folder
            (without a logger, in the Trainer's root folder).
        name: Stands before all tags and files; tells two of these callbacks apart.

    Raises:
        ValueError: If there is nothing to do, or a number is below one; at a look, if the rows of
            `run` do not fit `columns`, or the module cannot read `sources`.
        TypeError: If `sources` is one string; when fitting starts, if the module is no
            `SequenceModule` and there is no `run`.
    """

    folder = "samples"

    def __init__(
        self,
        every_n_epochs: int | None = 1,
        every_n_steps: int | None = None,
        sources: Sequence[Any] | None = None,
        probe: Any = None,
        run: Callable[[L.LightningModule, Any], Rows] | None = None,
        columns: Sequence[str] = ("source", "expected", "predicted"),
        examples: int = 4,
        directory: str | os.PathLike[str] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(every_n_epochs, every_n_steps, probe, run, examples, directory, name)
        if isinstance(sources, str):
            raise TypeError(
                f"SampleLogger: expected a list of sources, got one string; pass [{sources[:40]!r}]"
            )
        self.sources, self.columns = sources, tuple(columns)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """See that the module can be asked."""
        if self.run is None and not isinstance(pl_module, SequenceModule):
            raise TypeError(
                f"SampleLogger: expected a SequenceModule, got {type(pl_module).__name__}; pass "
                "run=, which returns rows of texts"
            )
        super().setup(trainer, pl_module, stage)

    def observe(self, module: L.LightningModule, probe: Any) -> Samples:
        """Let the module answer."""
        if self.run is None:
            assert isinstance(module, SequenceModule)
            if self.sources is not None:
                return predict_samples(module, self.sources)
            return compare_to_targets(module, probe)
        rows = list(self.run(module, probe))
        for row in rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"SampleLogger: expected rows of {len(self.columns)} texts "
                    f"({', '.join(self.columns)}), got one of {len(row)}; name them by columns="
                )
        return Samples(self.columns, [tuple(map(str, row)) for row in rows])

    def show(self, observed: Samples, report: FigureLogger) -> None:
        """Log the table."""
        report.table("samples", observed.columns, observed.rows)


def compare_to_targets(module: SequenceModule, batch: SequenceBatch) -> Samples:
    """What a module answers to the sources of a batch, beside what it should.

    Args:
        module: The module.
        batch: A batch whose target is known.
    """
    source, target = module.spec.source, module.spec.target
    if source is None:
        assert isinstance(target, TextSpec)
        texts = [_text_ids(row) for row in _cut(batch.target, batch.target_lengths)]
        prompts = [EncodedIds(ids[: len(ids) // 2]) for ids in texts]
        most = 1 + max((len(ids) - len(ids) // 2 for ids in texts), default=0)
        columns = {
            "prompt": format_values(target.decode(prompts)),
            "expected": format_values(target.decode(texts)),
        }
        return _table(
            columns | {"predicted": format_values(_continue_prompts(module, prompts, most))}
        )
    assert batch.source is not None
    sources = batch_sources(batch)
    texts_of = source.decode(sources) if isinstance(source, TextSpec) else sources
    columns = {"source": format_values(texts_of)}
    if isinstance(target, TextSpec):
        columns["expected"] = format_values(
            batch.references or target.decode(batch.target.tolist())
        )
    elif isinstance(target, ClassesSpec):
        columns["expected"] = [target.labels[at] for at in batch.target.tolist()]
    else:
        columns["expected"] = format_values(batch.target)
    return _table(columns | predict_columns(module, sources))


def predict_samples(module: SequenceModule, sources: Sequence[Any]) -> Samples:
    """What a module answers to raw sources, or how a language model goes on after prompts."""
    if module.spec.source is None:
        return _table(
            {
                "prompt": format_values(sources),
                "predicted": format_values(_continue_prompts(module, sources)),
            }
        )
    return _table({"source": format_values(sources)} | predict_columns(module, sources))


def predict_columns(module: SequenceModule, sources: Sequence[Any]) -> dict[str, list[str]]:
    """By name of the column a text for each raw source; of classes also the probability."""
    target = module.spec.target
    if isinstance(target, TextSpec):
        return {"predicted": format_values(module.generate(sources))}
    if isinstance(target, ClassesSpec):
        labels, probabilities = module.classify(sources)
        sure = [f"{probability:.3f}" for probability in probabilities.amax(1).tolist()]
        return {"predicted": labels, "probability": sure}
    assert isinstance(module.spec.source, TextSpec)
    ids, lengths = pad(module.spec.source.encode(list(sources)), module.device)
    unknown = torch.zeros(len(ids), target.size, device=module.device)
    return {"predicted": format_values(module(SequenceBatch(ids, lengths, unknown, None)))}


def format_values(values: Iterable[Any]) -> list[str]:
    """Texts as they are; ids, and numbers to three digits, with spaces between."""
    return [
        value if isinstance(value, str) else " ".join(f"{number:.3g}" for number in _numbers(value))
        for value in values
    ]


def _numbers(value: Any) -> list[float]:
    numbers: list[float] = torch.as_tensor(value).tolist()
    return numbers


def _continue_prompts(
    module: SequenceModule, prompts: Sequence[Any], max_new_tokens: int | None = None
) -> list[Any]:
    texts: list[Any] = module.generate(prompts=prompts, max_new_tokens=max_new_tokens)
    return texts


def _cut(ids: Tensor, lengths: Tensor | None) -> list[list[int]]:
    """The ids of each row, without padding."""
    assert lengths is not None
    return [row[:length] for row, length in zip(ids.tolist(), lengths.tolist(), strict=True)]


def _text_ids(ids: Sequence[int]) -> list[int]:
    """The first text of a row: up to the first reserved id after its start."""
    ids = ids[1:] if ids and ids[0] == START else ids
    return list(takewhile(lambda token: token not in (PAD, START, END), ids))


def _table(columns: dict[str, list[str]]) -> Samples:
    return Samples(tuple(columns), list(zip(*columns.values(), strict=True)))
