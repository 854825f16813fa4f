"""The one data module: a source says what its examples are, everything else happens here.

From examples to batches:

1. tokenizers and labels, from the training split only;
2. all splits as flat integer arrays, cached on disk;
3. a plan of batches, fixed;
4. the batches of an epoch, a function of (seed, epoch).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from seqlearn.batch import SequenceBatch
from seqlearn.data.batching import (
    BUCKET_BATCHES,
    BatchPlan,
    BatchSampler,
    plan_bucketed,
    plan_sequential,
)
from seqlearn.data.budget import default_batch_tokens
from seqlearn.data.describe import describe
from seqlearn.data.encoded import BatchDataset, EncodedDataset
from seqlearn.data.fields import Classes, Text, Vector
from seqlearn.data.loader import ResumableLoader, SequenceLoader, TrainingLoader
from seqlearn.data.plain_arguments import PlainArguments
from seqlearn.data.position import TrainingPosition, fitting_trainer
from seqlearn.data.preparation import SPLITS, Example, Prepared, Split, digest_examples, prepare
from seqlearn.plain_data import check_whole_number
from seqlearn.spec import ClassesSpec, SequenceSpec, TextSpec, VectorSpec, task_of

__all__ = ["SPLITS", "Example", "SequenceDataModule", "Split"]


class SequenceDataModule(PlainArguments, ABC):
    """Data for every shape. A source is a subclass with the one method `examples`.

    Args:
        source: What the first half of an example is: `Text`, `Vector`, or `None` (language model).
        target: What the second half is: `Text`, `Classes` or `Vector`. The same `Text` *instance*
            on both sides makes one joint vocabulary.
        batch_tokens: Budget of a batch on each rank, in tokens: examples times the longest length,
            on the longer side, start and end counted. By default so many that an epoch has about
            500 steps on one process, but from 128 to 4,096 (`default_batch_tokens`).
        seed: Decides, with the epoch, the order of the training batches.
        num_workers: Processes that slice batches; 0 slices them in the main process.

    Raises:
        TypeError: If a number is no whole number.
        ValueError: If no model goes from this kind of source to this kind of target, or a number
            is out of range.

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
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        task_of(_spec_type(source), _spec_type(target))
        self.source = source
        self.target = target
        if batch_tokens is not None:
            self.batch_tokens = check_whole_number(batch_tokens, "batch_tokens", 1)
        self.seed = check_whole_number(seed, "seed", 0)
        self.num_workers = check_whole_number(num_workers, "num_workers", 0)
        self._prepared: Prepared | None = None
        self.training_position = TrainingPosition()

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
        return digest_examples(self)

    def describe_location(self, split: Split, row: int) -> str:
        """How error messages call an example; a source of files names file and line.

        Args:
            split: The split it is in.
            row: Its position there, from 0.
        """
        return f"{split} example {row + 1}"

    def __repr__(self) -> str:
        """Class, fields and settings and, once prepared, sizes; nothing is prepared for it."""
        known = self.batch_tokens if self._prepared else self.__dict__.get("batch_tokens")
        settings = {"batch_tokens": known, "seed": self.seed}
        name = type(self).__name__
        return describe(name, self.source, self.target, settings, self._prepared)

    def __str__(self) -> str:
        return repr(self)

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

    @cached_property
    def batch_tokens(self) -> int:
        """The budget of a batch: as given, or from the lengths of the data. Errors as `spec`."""
        total = int(_longer_side(self.dataset("train")).sum())
        return default_batch_tokens(total, self._longest_row())

    def prepare_data(self) -> None:
        """Encode everything into the cache, unless it is there."""
        self._prepare()

    def setup(self, stage: str) -> None:
        """Read what `prepare_data` left in the cache."""
        self._prepare()
        if stage == "fit" and self.trainer is not None:
            self.training_position.start(self.trainer)

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
        return self._loader("test", shuffle=False, sequential=True)

    # Where an interrupted run stands.

    def state_dict(self) -> dict[str, int]:
        """The epoch, how many of its batches are done per rank, and what decides their order."""
        state = {} if self.trainer is None else self.training_position.state(self.trainer)
        return state | self.order_key() if state else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Let training go on where a checkpoint of a training run stands."""
        if self.trainer is None or self.trainer.state.fn != "fit":
            return
        names = [name for name, value in self.order_key().items() if state_dict[name] != value]
        if names and state_dict["batch"]:
            rank_zero_warn(
                "the checkpoint was written in the middle of an epoch with another "
                f"{', '.join(names)}: the rest of this epoch repeats some examples and leaves "
                "out others; to avoid it, resume with the old setting or from the end of an epoch"
            )
        self.training_position.resume(state_dict["epoch"], state_dict["batch"], state_dict["total"])

    def order_key(self) -> dict[str, int]:
        """Everything that decides the order of the training batches; kept in a checkpoint.

        Hook: a data module that plans its batches by further settings adds them.
        """
        replicas = self._replicas()["num_replicas"]
        return {"seed": self.seed, "batch_tokens": self.batch_tokens, "world_size": replicas}

    def _replicas(self) -> dict[str, int]:
        """How many processes share the batches, and which of them this is."""
        if self.trainer is not None:
            return self.trainer.distributed_sampler_kwargs or {"num_replicas": 1, "rank": 0}
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            size, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
            return {"num_replicas": size, "rank": rank}
        return {"num_replicas": 1, "rank": 0}

    def _loader(
        self, split: Split, *, shuffle: bool, sequential: bool = False
    ) -> DataLoader[SequenceBatch]:
        dataset = self.dataset(split)
        if getattr(self.trainer, "overfit_batches", 0) > 0:
            raise ValueError(
                "overfit_batches would have Lightning replace the plan of batches by single "
                "examples; use limit_train_batches with a data module of few examples"
            )
        if not len(dataset):
            raise ValueError(
                f"{type(self).__name__} has no {split} split (examples({split!r}) is empty); "
                "give it one, or leave out what asks for it"
            )
        replicas = self._replicas()
        plan = self.plan_batches(
            split, world_size=replicas["num_replicas"], shuffle=shuffle, sequential=sequential
        )
        sampler = BatchSampler(plan, shuffle=shuffle, seed=self.seed, rank=replicas["rank"])
        if self.num_workers:
            # Else the tokenizers library writes a warning for each process that is forked.
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        kind: type[SequenceLoader] = SequenceLoader
        if shuffle:
            kind = TrainingLoader if fitting_trainer(self) is None else ResumableLoader
        batches = self.batch_dataset(split)
        loader = kind(
            batches,
            sampler=sampler,
            batch_size=None,
            collate_fn=_identity,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )
        loader.spec = self.spec
        if isinstance(loader, TrainingLoader):
            loader.attach(self, batches.counted)
        return loader

    def plan_batches(
        self, split: Split, *, world_size: int, shuffle: bool, sequential: bool
    ) -> BatchPlan:
        """Plan which examples of a split form batches.

        Hook: override it, together with `batch_dataset`, for another way to form batches.

        Args:
            split: The split.
            world_size: Number of processes that share the batches.
            shuffle: Whether each epoch has its own order.
            sequential: Whether batches follow the order of the data.

        Returns:
            The plan; `batch_dataset` makes batches of what it yields.
        """
        dataset = self.dataset(split)
        lengths = dataset.source_lengths, dataset.target_lengths, self.batch_tokens
        describe_row = partial(_describe_location, self, dataset)
        if sequential:
            return plan_sequential(*lengths, world_size=world_size, describe_row=describe_row)
        mixed = BUCKET_BATCHES if shuffle else 1
        return plan_bucketed(
            *lengths, world_size=world_size, bucket_batches=mixed, describe_row=describe_row
        )

    def batch_dataset(self, split: Split) -> BatchDataset:
        """The dataset of a split that turns an entry of the plan into a batch.

        Hook: override it together with `plan_batches`.
        """
        return self.dataset(split)

    def _longest_row(self) -> int:
        """Tokens of the longest row that a batch of any split can have."""
        datasets = self._prepare().datasets.values()
        return max(int(_longer_side(dataset).max(initial=1)) for dataset in datasets)

    def _prepare(self) -> Prepared:
        if self._prepared is None:
            self._prepared = prepare(self)
        return self._prepared


def _longer_side(dataset: EncodedDataset) -> NDArray[np.int64]:
    """Tokens of each example's longer side."""
    return np.maximum(dataset.source_lengths, dataset.target_lengths)


def _spec_type(field: object) -> type:
    """What a field becomes in the spec."""
    specs = ((Text, TextSpec), (Classes, ClassesSpec), (Vector, VectorSpec))
    return next((spec for kind, spec in specs if isinstance(field, kind)), type(field))


def _describe_location(data: SequenceDataModule, dataset: EncodedDataset, row: int) -> str:
    """How error messages call an encoded example."""
    return data.describe_location(cast("Split", dataset.split), dataset.origin(row))


def _identity(batch: Any) -> Any:
    return batch
