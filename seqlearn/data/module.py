"""The one data module: a source says what its examples are, everything else happens here.

From examples to batches:

1. tokenizers and labels, from the training split only;
2. all splits as flat integer arrays, cached on disk;
3. a plan of batches, fixed;
4. the batches of an epoch, a function of (seed, epoch).
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from seqlearn.batch import SequenceBatch
from seqlearn.data.batching import BUCKET_BATCHES, BatchSampler, plan_batches, plan_in_order
from seqlearn.data.cache import cached, file_digest
from seqlearn.data.encoded import EncodedDataset, TextColumn, make_column, save_references
from seqlearn.data.fields import TRAINED, Classes, Field, Text, Vector
from seqlearn.data.tokenizers import load_tokenizer, text_spec, train_tokenizer
from seqlearn.spec import ClassesSpec, SequenceSpec, Side, TextSpec, VectorSpec

Split = Literal["train", "val", "test"]
Example = tuple[Any, Any]
"""Source and target: strings, sequences of numbers, or `None` for no source."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")

_FORMAT = 1  # of the prepared files; another number has everything prepared anew
_CHUNK = 4096  # examples that are encoded at a time


class SequenceDataModule(L.LightningDataModule, ABC):
    """Data for every shape. A source is a subclass with the one method `examples`.

    Args:
        source: What the first half of an example is: `Text`, `Vector`, or `None` (language model).
        target: What the second half is: `Text`, `Classes` or `Vector`. The same `Text` *instance*
            on both sides makes one joint vocabulary.
        batch_tokens: Budget of a batch on each rank, in tokens: examples times the longest length,
            on the longer side, start and end counted.
        seed: Decides, with the epoch, the order of the training batches.
        num_workers: Processes that slice batches; 0 slices them in the main process.

    Raises:
        ValueError: If a number is out of range.

    Example::

        class Squares(SequenceDataModule):
            def __init__(self):
                super().__init__(Text(), Text())

            def examples(self, split):
                first = {"train": 0, "val": 800, "test": 900}[split]
                last = {"train": 800, "val": 900, "test": 1000}[split]
                return [(str(n), str(n * n)) for n in range(first, last)]
    """

    def __init__(
        self,
        source: Text | Vector | None,
        target: Text | Classes | Vector,
        *,
        batch_tokens: int = 4096,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        limits = {"batch_tokens": (batch_tokens, 1), "seed": (seed, 0)}
        for name, (value, least) in {**limits, "num_workers": (num_workers, 0)}.items():
            if value < least:
                raise ValueError(f"expected {name} of at least {least}, got {value}")
        self.source = source
        self.target = target
        self.batch_tokens = batch_tokens
        self.seed = seed
        self.num_workers = num_workers
        self._prepared: _Prepared | None = None
        self._resume: dict[str, int] | None = None

    # What a source says.

    @abstractmethod
    def examples(self, split: Split) -> Iterable[Example]:
        """All examples of a split, in order: pairs of source and target.

        A text or a label is a string, a vector a sequence of numbers; without a source the first
        is `None`. A split that the source does not have is empty. This is called several times,
        only while nothing prepared is found in the cache, and must answer the same each time.
        """

    def fingerprint(self) -> str:
        """A string that differs whenever the examples differ; part of the cache's key.

        The default reads all examples. A source that knows something cheaper (digests of its
        files; its arguments, where they decide everything) overrides this.
        """
        digest = hashlib.sha256()
        for split in SPLITS:
            digest.update(f"\n{split}\n".encode())
            for source, target in self._checked(split):
                plain = [_plain(source), _plain(target)]
                digest.update(json.dumps(plain, ensure_ascii=False).encode() + b"\n")
        return digest.hexdigest()

    def locate(self, split: Split, row: int) -> str:
        """How error messages call an example; a source of files names file and line.

        Args:
            split: The split it is in.
            row: Its position there, from 0.
        """
        return f"{split} example {row + 1}"

    # What comes out.

    @property
    def spec(self) -> SequenceSpec:
        """What goes in and what comes out. Prepares the data if that is still to be done.

        Raises:
            ValueError: If the data is bad (the message names split and example, or file and
                line), or cannot support what the fields ask for.
            OSError: If the cache cannot be written.
        """
        return self._prepare().spec

    def dataset(self, split: Split) -> EncodedDataset:
        """The encoded examples of a split; `dataset(split)[rows]` is a batch. Errors as `spec`."""
        return self._prepare().datasets[split]

    def prepare_data(self) -> None:
        """Encode everything into the cache, unless it is there."""
        self._prepare()

    def setup(self, stage: str) -> None:
        """Read what `prepare_data` left in the cache."""
        self._prepare()

    def train_dataloader(self) -> DataLoader[SequenceBatch]:
        """Batches of the training split, in another order each epoch."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[SequenceBatch] | list[Any]:
        """Batches of the validation split, in a fixed order; none while fitting without one.

        Raises:
            ValueError: If there is no validation split, and it was asked for.
        """
        fitting = self.trainer is not None and self.trainer.state.fn == "fit"
        if fitting and not len(self.dataset("val")):
            return []
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader[SequenceBatch]:
        """Batches of the test split, in a fixed order.

        Raises:
            ValueError: If there is no test split.
        """
        return self._loader("test", shuffle=False)

    def predict_dataloader(self) -> DataLoader[SequenceBatch]:
        """Batches of the test split, in the order of the data.

        Raises:
            ValueError: If there is no test split.
        """
        return self._loader("test", shuffle=False, in_order=True)

    # Where an interrupted run stands.

    def state_dict(self) -> dict[str, int]:
        """The epoch, how many of its batches are done per rank, and what decides their order."""
        if self.trainer is None:
            return {}
        # Counters of what has started, and of what is processed (done but for the last hooks).
        epochs: Any = self.trainer.fit_loop.epoch_progress.current
        batches: Any = self.trainer.fit_loop.epoch_loop.batch_progress.current
        done = batches.processed
        epoch, batch = epochs.processed, 0
        if epochs.started > epochs.processed:  # in an epoch, maybe at its end
            ended = done >= self.trainer.num_training_batches
            epoch, batch = (epoch + 1, 0) if ended else (epoch, done)
        return {"epoch": epoch, "batch": batch, **self._order()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let the next `train_dataloader` go on where a checkpoint of a training run stands."""
        if self.trainer is None or self.trainer.state.fn == "fit":
            self._resume = dict(state_dict)

    def _order(self) -> dict[str, int]:
        world_size = 1 if self.trainer is None else self.trainer.world_size
        return {"seed": self.seed, "batch_tokens": self.batch_tokens, "world_size": world_size}

    def _loader(
        self, split: Split, *, shuffle: bool, in_order: bool = False
    ) -> DataLoader[SequenceBatch]:
        dataset = self.dataset(split)
        if not len(dataset):
            raise ValueError(
                f"{type(self).__name__} has no {split} split (examples({split!r}) is empty); "
                "give it one, or leave out what asks for it"
            )
        lengths = dataset.source_lengths, dataset.target_lengths, self.batch_tokens
        world_size = self._order()["world_size"]
        locate = partial(self.locate, split)
        if in_order:
            plan = plan_in_order(*lengths, world_size=world_size, locate=locate)
        else:
            mixed = BUCKET_BATCHES if shuffle else 1
            plan = plan_batches(
                *lengths, world_size=world_size, bucket_batches=mixed, locate=locate
            )
        rank = 0 if self.trainer is None else self.trainer.global_rank
        sampler = BatchSampler(plan, shuffle=shuffle, seed=self.seed, rank=rank)
        if split == "train":
            self._place(sampler)
        if self.num_workers:
            # Else the tokenizers library writes a warning for each process that is forked.
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        return _Loader(
            dataset,
            sampler=sampler,
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def _place(self, sampler: BatchSampler) -> None:
        """Put a new sampler where training stands.

        Lightning starts iterating, and workers start fetching, before it tells the epoch.
        """
        resume, self._resume = self._resume, None
        if resume is None:
            if self.trainer is not None:
                epochs: Any = self.trainer.fit_loop.epoch_progress.current
                sampler.set_epoch(epochs.processed)
            return
        order = self._order()
        changed = [name for name, value in order.items() if resume.get(name, value) != value]
        if changed and resume["batch"]:
            rank_zero_warn(
                "the checkpoint was written in the middle of an epoch with another "
                f"{', '.join(changed)}: the rest of this epoch repeats some examples and leaves "
                "out others; to avoid it, resume with the old setting or from the end of an epoch"
            )
        sampler.set_epoch(resume["epoch"])
        sampler.skip(resume["batch"])

    # Preparation.

    def _prepare(self) -> _Prepared:
        if self._prepared is None:
            folder = cached(self._key(), self._build)
            summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
            spec = SequenceSpec.from_dict(summary["spec"])
            datasets = {split: EncodedDataset(folder, split) for split in SPLITS}
            self._prepared = _Prepared(spec, datasets)
            _warn_unknown(summary["unknown"])
        return self._prepared

    def _key(self) -> str:
        fields: list[Any] = []
        for field in (self.source, self.target):
            plain = None if field is None else {"kind": type(field).__name__, **asdict(field)}
            if isinstance(field, Text) and field.tokenizer not in TRAINED:
                load_tokenizer(field.tokenizer)  # that its errors come first
                fields.append(file_digest(field.tokenizer))
            fields.append(plain)
        parts = [_FORMAT, fields, self.source is self.target, self.fingerprint()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _build(self, folder: Path) -> None:
        """Write all splits, encoded, and a summary."""
        if next(iter(self._checked("train")), None) is None:
            raise ValueError(
                f"{type(self).__name__} has no training examples (examples('train') is empty)"
            )
        sides = {"source": self._side(0), "target": self._side(1)}
        unknown: dict[str, dict[str, int]] = {"source": {}, "target": {}}
        for split in SPLITS:
            columns = {
                name: make_column(side, partial(self.locate, split), is_target=name == "target")
                for name, side in sides.items()
                if side is not None
            }
            references: list[str] = []
            examples = self._checked(split)
            while chunk := list(islice(examples, _CHUNK)):
                values = {
                    "source": [pair[0] for pair in chunk],
                    "target": [pair[1] for pair in chunk],
                }
                for name, column in columns.items():
                    column.extend(values[name])
                references.extend(values["target"])
            for name, column in columns.items():
                column.save(folder, f"{split}.{name}")
                side = sides[name]
                if isinstance(column, TextColumn) and isinstance(side, TextSpec):
                    unknown[name][split] = column.unknown
                    longest = max(side.max_length, column.longest)
                    seen = side.unknown_seen or (split == "train" and column.unknown > 0)
                    sides[name] = replace(side, max_length=longest, unknown_seen=seen)
            if split != "train" and isinstance(self.target, Text):
                save_references(folder, split, references)
        joint = self.source is self.target
        spec = SequenceSpec(sides["source"], sides["target"], joint)  # type: ignore[arg-type]
        summary = {"spec": spec.to_dict(), "unknown": unknown}
        (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")

    def _side(self, number: int) -> Side | None:
        """The spec of source (0) or target (1), as far as the training split decides it."""
        field = (self.source, self.target)[number]
        if field is None:
            return None
        if isinstance(field, Vector):
            return VectorSpec(field.size)
        if isinstance(field, Classes):
            return ClassesSpec(tuple(sorted({pair[number] for pair in self._checked("train")})))
        if field.tokenizer not in TRAINED:
            return text_spec(load_tokenizer(field.tokenizer))
        both = (0, 1) if self.source is self.target else (number,)
        texts = (pair[side] for pair in self._checked("train") for side in both)
        return text_spec(train_tokenizer(field, texts))

    def _checked(self, split: Split) -> Iterator[Example]:
        """The examples of a split; what is no example raises, with its place."""
        for row, pair in enumerate(self.examples(split)):
            try:
                source, target = pair
                _check(self.source, source, "source")
                _check(self.target, target, "target")
            except (TypeError, ValueError) as error:
                raise ValueError(f"{self.locate(split, row)}: {error}") from error
            yield source, target


class _Prepared(NamedTuple):
    spec: SequenceSpec
    datasets: dict[Split, EncodedDataset]


class _Loader(DataLoader[SequenceBatch]):
    """Tells Lightning, by having these two methods, that it can be resumed within an epoch.

    The position itself is in the data module's state.
    """

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to load."""


def _unchanged(batch: Any) -> Any:
    return batch


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | None) else [float(number) for number in value]


def _check(field: Field | None, value: object, side: str) -> None:
    if field is None:
        if value is not None:
            raise ValueError(
                f"expected None as {side}, since this data has none, got {value!r:.60}"
            )
        return
    try:
        field.check(value)
    except ValueError as error:
        raise ValueError(f"{side}: {error}") from error


def _warn_unknown(unknown: dict[str, dict[str, int]]) -> None:
    """Warn once per side of unknown tokens that a model has no chance to learn about."""
    for side, counts in unknown.items():
        found = [f"{counts[split]} in {split}" for split in ("val", "test") if counts.get(split)]
        if found and not counts["train"]:
            rank_zero_warn(
                f"the {side} has tokens that do not occur in the training split "
                f"({', '.join(found)}); they are encoded as unknown, "
                "which the model never sees in training"
            )
