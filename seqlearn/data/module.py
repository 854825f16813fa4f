"""`SequenceDataModule`, the base of all sources: from examples to batches.

1. Tokenizers and labels are derived from the training split only.
2. All splits are encoded as flat integer arrays and cached on disk.
3. Batches are planned once.
4. The batches of an epoch are a function of (seed, epoch).
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
from seqlearn.data.fields import Field
from seqlearn.data.loader import ResumableLoader, SequenceLoader, TrainingLoader
from seqlearn.data.position import TrainingPosition, fitting_trainer
from seqlearn.data.preparation import SPLITS, Example, Prepared, Split, digest_examples, prepare
from seqlearn.data.same_on_ranks import check_same_on_ranks
from seqlearn.data.trained_spec import TakesSpec
from seqlearn.plain_data import check_whole_number, to_plain_data
from seqlearn.spec import SequenceSpec, SourceSpec, TargetSpec, task_of

__all__ = ["SPLITS", "Example", "SequenceDataModule", "Split"]


class SequenceDataModule(TakesSpec, ABC):
    """Data for every task. A source is a subclass with the one method `examples`.

    Args:
        source: Field of the first half of an example: `Text`, `Vector`, or `None` (language
            models).
        target: Field of the second half: `Text`, `Classes`, `Tags` or `Vector`. The same `Text`
            *instance* on both sides makes one joint vocabulary.
        batch_tokens: Token budget of a batch on each rank: number of examples times the longest
            length of the longer side, start and end included. By default an epoch has about 1,000
            steps on one process, with a budget between 128 and 4,096 (`default_batch_tokens`).
        seed: Determines, with the epoch, the order of the training batches.
        num_workers: Number of worker processes that slice batches; 0 uses the main process.

    Raises:
        TypeError: If a number is not a whole number, or a field cannot be used on its side.
        ValueError: If this combination of source and target is not supported, or a number is out
            of range.

    Examples:
        >>> from seqlearn.data import SequenceDataModule, Text
        >>> class Squares(SequenceDataModule):
        ...     def __init__(self):
        ...         super().__init__(Text(), Text())
        ...
        ...     def examples(self, split):
        ...         first = {"train": 0, "val": 800, "test": 900}[split]
        ...         last = {"train": 800, "val": 900, "test": 1000}[split]
        ...         return [(str(n), str(n * n)) for n in range(first, last)]
        >>> Squares().examples("test")[0]
        ('900', '810000')
    """

    def __init__(
        self,
        source: Field | None,
        target: Field,
        *,
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        for name, field, base in (("source", source, SourceSpec), ("target", target, TargetSpec)):
            optional = name == "source" and field is None
            if isinstance(field, type):
                raise TypeError(
                    f"expected a field such as Text() as {name}, got the class {field.__name__}; "
                    f"pass an instance: {field.__name__}(...)"
                )
            if not optional and not issubclass(getattr(field, "spec_type", object), base):
                raise TypeError(f"expected a field such as Text() as {name}, got {field!r}")
        task_of(None if source is None else source.spec_type, target.spec_type)  # type: ignore[arg-type]
        self.source = source
        self.target = target
        if batch_tokens is not None:
            self.batch_tokens = check_whole_number(batch_tokens, "batch_tokens", 1)
        self.seed = check_whole_number(seed, "seed", 0)
        self.num_workers = check_whole_number(num_workers, "num_workers", 0)
        self._prepared: Prepared | None = None
        self.training_position = TrainingPosition()

    # Hooks of a source: `examples` is abstract, the others have defaults.

    @abstractmethod
    def examples(self, split: Split) -> Iterable[Example]:
        """All examples of a split, in order: pairs of source and target.

        A text or a label is a string, a vector a sequence of numbers, tags are a list of labels;
        without a source, the first of the pair is `None`. A missing split is empty. The method is
        called several times while the cache has no prepared data, and must return the same examples
        each time.
        """

    def fingerprint(self) -> str:
        """A string that differs whenever the examples differ; part of the cache key.

        Hook: the default hashes all examples. A source with something cheaper (digests of its
        files, or its arguments if they determine everything) overrides it. If a subclass of such a
        source does not override it too, all examples are hashed as well.
        """
        return digest_examples(self)

    def describe_location(self, split: Split, row: int) -> str:
        """Describe an example in error messages.

        Hook: a source of files returns file and line.

        Args:
            split: The split of the example.
            row: Its index in the split, from 0.
        """
        return f"{split} example {row + 1}"

    def adapt_spec(self, spec: SequenceSpec) -> SequenceSpec:
        """Change the spec that models receive.

        Hook: the default returns it unchanged.
        """
        return spec

    def order_key(self) -> dict[str, int]:
        """Further settings that determine the order of the training batches.

        Hook: the default has none. They are saved in checkpoints, in addition to the seed, the
        budget and the number of processes; resuming with other values warns.
        """
        return {}

    def __repr__(self) -> str:
        """Class, fields and settings and, once prepared, sizes; it does not prepare the data."""
        known = self.batch_tokens if self._prepared else self.__dict__.get("batch_tokens")
        settings = {"batch_tokens": known, "seed": self.seed}
        name = type(self).__name__
        return describe(name, self.source, self.target, settings, self._prepared)

    def __str__(self) -> str:
        return repr(self)

    # Outputs

    @property
    def spec(self) -> SequenceSpec:
        """The spec of source and target. Prepares the data if necessary.

        Raises:
            ValueError: If an example is invalid (the message names split and example, or file and
                line), or the data does not support the fields' settings.
            TypeError: If `examples` returns no iterable, or an example is not a pair.
            OSError: If the cache cannot be written.
        """
        return self.adapt_spec(self._prepare().spec)

    def dataset(self, split: Split) -> EncodedDataset:
        """The encoded examples of a split; `dataset(split)[rows]` is a batch. Raises as `spec`.

        Raises:
            ValueError: If there is no such split.
        """
        found = self._prepare().datasets
        if split not in found:
            names = ", ".join(map(repr, found))
            raise ValueError(f"expected a split among {names}, got {split!r}")
        return found[split]

    @cached_property
    def batch_tokens(self) -> int:
        """The budget of a batch: the argument, or the default for the data. Raises as `spec`."""
        total = int(_longer_side(self.dataset("train")).sum())
        return default_batch_tokens(total, self.longest_row())

    def prepare_data(self) -> None:
        """Encode all splits into the cache, unless they are there."""
        self._prepare()

    def setup(self, stage: str) -> None:
        """Load the prepared data from the cache.

        Raises:
            ValueError: If processes of one run have prepared different data.
        """
        content: dict[str, Any] = {"content of the data": self._prepare().folder.path.name}
        content |= {"seed": self.seed, "batch_tokens": self.batch_tokens}
        check_same_on_ranks(self.trainer, content)
        if stage == "fit" and self.trainer is not None:
            self.training_position.start(self.trainer)

    def train_dataloader(self) -> DataLoader[SequenceBatch]:
        """Batches of the training split; the order differs between epochs."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[SequenceBatch] | list[Any]:
        """Batches of the validation split in a fixed order; empty in `fit` without such a split.

        Raises:
            ValueError: If there is no validation split, except in `fit`.
        """
        fitting = self.trainer is not None and self.trainer.state.fn == "fit"
        if fitting and not len(self.dataset("val")):
            return []
        return self._loader("val", shuffle=False)

    def test_dataloader(self) -> DataLoader[SequenceBatch]:
        """Batches of the test split in a fixed order.

        Raises:
            ValueError: If there is no test split.
        """
        return self._loader("test", shuffle=False)

    def predict_dataloader(self) -> DataLoader[SequenceBatch]:
        """Batches of the test split in the order of the data.

        Raises:
            ValueError: If there is no test split, or the data has no sources to predict from.
        """
        if self.source is None:
            raise ValueError(
                f"{type(self).__name__} has no sources to predict from; use "
                "model.generate(prompts=[...]) to continue texts"
            )
        return self._loader("test", shuffle=False, sequential=True)

    # State of an interrupted run

    def state_dict(self) -> dict[str, int]:
        """The position in the epoch on each rank, and everything that determines the order."""
        state = {} if self.trainer is None else self.training_position.state(self.trainer)
        return state | self._order() if state else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Resume training at the position of a checkpoint."""
        if self.trainer is None or self.trainer.state.fn != "fit":
            return
        names = [name for name, value in self._order().items() if state_dict[name] != value]
        if names and state_dict["batch"]:
            rank_zero_warn(
                "the checkpoint was saved in the middle of an epoch with a different "
                f"{', '.join(names)}: the rest of this epoch repeats some examples and omits "
                "others; to avoid it, resume with the old setting or from the end of an epoch"
            )
        self.training_position.resume(state_dict["epoch"], state_dict["batch"], state_dict["total"])

    def _order(self) -> dict[str, int]:
        """Everything that determines the order of the training batches."""
        replicas = self._replicas()["num_replicas"]
        own = {"seed": self.seed, "batch_tokens": self.batch_tokens, "world_size": replicas}
        return own | to_plain_data(self.order_key(), "order_key()")

    def _replicas(self) -> dict[str, int]:
        """The number of processes that share the batches, and the rank of this one."""
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
                "overfit_batches makes Lightning replace the planned batches by single examples; "
                "use limit_train_batches with a data module of few examples"
            )
        if not len(dataset):
            raise ValueError(
                f"{type(self).__name__} has no {split} split (examples({split!r}) is empty); "
                f"add one (most sources have {split}=), or use another split"
            )
        replicas = self._replicas()
        plan = self.plan_batches(
            split, world_size=replicas["num_replicas"], shuffle=shuffle, sequential=sequential
        )
        sampler = BatchSampler(plan, shuffle=shuffle, seed=self.seed, rank=replicas["rank"])
        if self.num_workers:
            # Otherwise the tokenizers library warns for each forked process.
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
            The plan; `batch_dataset` is indexed by its entries.
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

    def longest_row(self) -> int:
        """Number of tokens of the longest row in a batch of any split.

        Hook: override it together with `plan_batches`.
        """
        datasets = self._prepare().datasets.values()
        return max(int(_longer_side(dataset).max(initial=1)) for dataset in datasets)

    def _prepare(self) -> Prepared:
        if self._prepared is None:
            self._prepared = prepare(self)
        return self._prepared


def _longer_side(dataset: EncodedDataset) -> NDArray[np.int64]:
    """Number of tokens of each example's longer side, `example`."""
    return np.maximum(dataset.source_lengths, dataset.target_lengths)


def _describe_location(data: SequenceDataModule, dataset: EncodedDataset, row: int) -> str:
    """Describe an encoded example in error messages."""
    return data.describe_location(cast("Split", dataset.split), dataset.origin(row))


def _identity(batch: Any) -> Any:
    return batch
