"""Write the predictions of all processes to one file, in the order of the data."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from lightning.fabric.utilities import move_data_to_device
from lightning.pytorch import Callback, LightningModule, Trainer

from seqlearn.atomic_files import atomic_path, require_writable
from seqlearn.batch import SequenceBatch

Format = Literal["text", "jsonl"]

_SUFFIX = {"text": "txt", "jsonl": "jsonl"}
_OPTION = "`path` of PredictionWriter or `default_root_dir` of the Trainer"


class Predicted(NamedTuple):
    """A prediction and its place.

    Attributes:
        loader: The number of its data loader.
        row: The position of its example in the data.
        prediction: What `predict_step` returned for the example.
    """

    loader: int
    row: int
    prediction: Any


class PredictionWriter(Callback):
    r"""Write what `trainer.predict` predicts to one file, in the order of the data.

    With several processes and any strategy, the file has each example once and equals the file of
    one process: rank zero gathers the predictions of all ranks, leaves out the examples that only
    even out the ranks, sorts the others by their position in the data, and writes them. `fit`,
    `validate` and `test` are not affected. `seqlearn predict` uses this callback.

    It works with every `LightningModule` whose `predict_step` returns one prediction for each
    example of the batch: a list, or a tensor whose first axis is the batch. Sampling draws other
    texts on another number of processes.

    Args:
        path: The file. Default: `predictions.txt` (or `.jsonl`) in the log folder of the Trainer.
        format: `"text"` writes one line for each example: the text or label, or ids and numbers
            separated by spaces; line breaks within a text become spaces. `"jsonl"` writes a JSON
            object for each example: `{"index": 0, "prediction": …}`, and `"loader"` if there are
            several data loaders.

    Attributes:
        predictions: All predictions in the order of the data, on rank zero; empty on other ranks.
        written: The file, after `trainer.predict`.

    Raises:
        ValueError: If the format is unknown. In `trainer.predict`: if `predict_step` does not
            return one prediction for each example, or several processes use a data loader that
            does not tell which examples a batch has.
        TypeError: If `predict_step` returns no list or tensor, or JSON cannot hold a prediction.
        OSError: If the file cannot be written: the folder is checked before the first batch.

    Examples:
        >>> import tempfile
        >>> import lightning as L
        >>> import seqlearn as sl
        >>> writer = sl.callbacks.PredictionWriter(format="jsonl")
        >>> writer
        PredictionWriter(path=None, format='jsonl')
        >>> trainer = L.Trainer(callbacks=[writer], logger=False)  # devices=4, strategy="ddp"

        After `trainer.predict(model, data)`, `writer.predictions` has them too.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        format: Format = "text",  # noqa: A002
    ) -> None:
        if format not in get_args(Format):
            raise ValueError(f"format: expected 'text' or 'jsonl', got {format!r}")
        self.path = None if path is None else os.fspath(path)
        self.format: Format = format
        self.predictions: list[Any] = []
        self.written: Path | None = None
        self._predicted: list[Predicted] = []

    def __repr__(self) -> str:
        return f"PredictionWriter(path={self.path!r}, format={self.format!r})"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the file, and check that its folder can be written."""
        if stage != "predict":
            return
        folder = Path(trainer.log_dir or trainer.default_root_dir)  # `log_dir` is a broadcast
        path = folder / f"predictions.{_SUFFIX[self.format]}" if self.path is None else self.path
        self.written, self.predictions, self._predicted = Path(path), [], []
        parent = Path(path).absolute().parent
        _on_rank_zero(trainer, lambda: require_writable(parent, _OPTION))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the predictions of a batch with the positions of their examples."""
        outputs = move_data_to_device(outputs, torch.device("cpu"))
        listed = isinstance(outputs, (list, tuple)) or getattr(outputs, "ndim", 0) > 0
        if not listed:
            raise TypeError(
                "PredictionWriter: expected a list from predict_step, with one prediction for each "
                f"example of the batch, got {type(outputs).__name__}"
            )
        predictions = list(outputs)
        rows = _rows(trainer, batch, batch_idx, dataloader_idx)
        if rows is None and trainer.world_size > 1:
            raise ValueError(
                "PredictionWriter: which examples a batch of this data loader has is not known, so "
                "the predictions of several processes have no order; pass a data module of "
                "seqlearn or a DataLoader over a dataset with a length, or use one process"
            )
        if rows is None:
            start = sum(one.loader == dataloader_idx for one in self._predicted)
            rows = list(range(start, start + len(predictions)))
        kept = [row for row in rows if row >= 0]  # the others even out the ranks
        if len(predictions) == len(rows):
            predictions = [one for one, row in zip(predictions, rows, strict=True) if row >= 0]
        if len(predictions) != len(kept):
            raise ValueError(
                f"PredictionWriter: predict_step returned {len(predictions)} predictions for the "
                f"{len(kept)} examples of batch {batch_idx}; return one for each example"
            )
        for row, prediction in zip(kept, predictions, strict=True):
            self._predicted.append(Predicted(dataloader_idx, row, prediction))

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather the predictions of all ranks, and write them."""
        found: dict[tuple[int, int], Predicted] = {}
        for rank in _gathered(trainer, self._predicted):
            for one in rank:
                found.setdefault((one.loader, one.row), one)
        ordered = [found[place] for place in sorted(found)]
        self._predicted, self.predictions = [], [one.prediction for one in ordered]
        _on_rank_zero(trainer, lambda: self._write(ordered))

    def _write(self, predicted: list[Predicted]) -> None:
        assert self.written is not None
        lines = self._json_lines(predicted) if self.format == "jsonl" else self._lines(predicted)
        data = "".join(f"{line}\n" for line in lines).encode()
        with atomic_path(self.written, "the predictions", _OPTION, len(data)) as part:
            part.write_bytes(data)

    @staticmethod
    def _lines(predicted: list[Predicted]) -> Iterator[str]:
        return (to_single_line(one.prediction) for one in predicted)

    @staticmethod
    def _json_lines(predicted: list[Predicted]) -> Iterator[str]:
        several = any(one.loader for one in predicted)
        for one in predicted:
            place = {"loader": one.loader} if several else {}
            value = place | {"index": one.row, "prediction": one.prediction}
            yield json.dumps(value, ensure_ascii=False, default=_plain)


def to_single_line(prediction: Any) -> str:
    r"""Format a prediction as one line: ids or numbers joined by spaces, line breaks as spaces.

    Examples:
        >>> to_single_line("two\nlines"), to_single_line([4, 5]), to_single_line(3)
        ('two lines', '4 5', '3')
    """
    value = _plain(prediction) if hasattr(prediction, "tolist") else prediction
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return " ".join(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"))


def _plain(value: Any) -> Any:
    """A tensor or an array as lists and numbers, for JSON."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(
        f"PredictionWriter: expected predictions of texts, numbers, lists and dictionaries for "
        f"JSON, got {type(value).__name__}"
    )


def _rows(trainer: Trainer, batch: Any, batch_idx: int, dataloader_idx: int) -> list[int] | None:
    """The positions in the data of a batch's examples; negative ones are duplicates.

    For loaders of other libraries they are what Lightning's wrapper of the batch sampler has seen.
    `None` if they are not known.
    """
    if isinstance(batch, SequenceBatch) and batch.indices is not None:
        rows: list[int] = batch.indices.tolist()
        return rows
    loaders: Any = trainer.predict_dataloaders
    loader = loaders[dataloader_idx] if isinstance(loaders, (list, tuple)) else loaders
    seen = getattr(getattr(loader, "batch_sampler", None), "seen_batch_indices", None)
    return None if seen is None else list(seen[batch_idx])


def _gathered(trainer: Trainer, own: list[Predicted]) -> list[list[Predicted]]:
    """The predictions of each rank, on rank zero; those of other ranks have no predictions."""
    if trainer.world_size == 1:
        return [own]
    # Objects travel through a group on the CPU: the default group may need memory of the GPU.
    group = torch.distributed.new_group(backend="gloo")
    ranks: list[Any] | None = [None] * trainer.world_size if trainer.is_global_zero else None
    torch.distributed.gather_object(own, ranks, group=group)
    torch.distributed.barrier(group)  # rank zero has received all before any connection closes
    torch.distributed.destroy_process_group(group)
    return ranks or []


def _on_rank_zero(trainer: Trainer, action: Callable[[], None]) -> None:
    """Run an action on rank zero; its error is raised on all ranks, so that none waits."""
    problem: Any = None
    if trainer.is_global_zero:
        try:
            action()
        except (OSError, TypeError) as error:
            problem = error
    problem = trainer.strategy.broadcast(problem)
    if problem is not None:
        raise problem
