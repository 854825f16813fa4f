"""`Synthetic`: the toy tasks copy, reverse, sort and add, generated without downloads."""

from __future__ import annotations

import functools
import itertools
import json
import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from seqlearn.data.fields import Classes, Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.rng import seeded_rng

Operation = Literal["copy", "reverse", "sort", "add"]
SyntheticTask = Literal["sequence-to-sequence", "sequence-to-vector"]

_OPERATIONS = ("copy", "reverse", "sort", "add")
_TASKS = ("sequence-to-sequence", "sequence-to-vector")
_HELD_OUT_SHARE = 10  # at most a tenth of all possible examples is in val, and a tenth in test

_Drawn = tuple[int, ...]
"""A source: the symbols of a sequence, or the two numbers of a sum."""


class Synthetic(SequenceDataModule):
    """Toy tasks with a deterministic target.

    | operation | source | target | class |
    |---|---|---|---|
    | `"copy"` | `3 1 4` | `3 1 4` | `4`, the last |
    | `"reverse"` | `3 1 4` | `4 1 3` | `3`, the first |
    | `"sort"` | `3 1 4` | `1 3 4` | `4`, the largest |
    | `"add"` | `12+345` | `357` | `7`, the units |

    In "sequence-to-sequence" the target is the whole sequence; in "sequence-to-vector" it is the
    last symbol of that sequence, as a class. By default chance level is about one in ten for copy,
    reverse and add. For sort, with n of V symbols, the class is the largest symbol with probability
    1 - (1 - 1/V)^n: about half of the examples by default, and more for longer sequences or fewer
    symbols.

    Symbols are the numbers 0 … `vocabulary` - 1, tokenized by "word"; sums are tokenized by "char",
    most significant digit first. Both sides share one vocabulary. Lengths are drawn uniformly
    (among lengths with examples left), then symbols; numbers have no leading zeros.

    All examples of all splits differ, so no source of the test split occurs in training ("1+2" and
    "2+1" are different). Of each length (of each pair of digit counts) at most a tenth of all
    possible examples is in val and a tenth in test. If too few examples are possible, splits are
    smaller than requested: 10 symbols make 10 sequences of length one, 1 of them in val, 1 in test,
    up to 8 in train.

    Args:
        operation: `"copy"`, `"reverse"`, `"sort"` or `"add"`.
        length: Maximum number of symbols; for "add", maximum number of digits of each number.
        task: `"sequence-to-sequence"` or `"sequence-to-vector"`.
        min_length: Minimum number of symbols; equal to `length` for a fixed length.
        vocabulary: Number of symbols; 10 for "add", which is decimal.
        train_examples: Maximum number of training examples.
        held_out_examples: Maximum number of validation examples, and of test examples.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Determines the examples and the order of training. Evaluate a checkpoint with the seed
            of its training; with another seed the test split has training examples.
        num_workers: Number of worker processes that slice batches.

    Raises:
        ValueError: If the operation or the task does not exist, a number is out of range, or fewer
            than ten examples of the greatest length are possible. When the data is prepared: if
            training lacks a symbol.

    Examples:
        >>> data = Synthetic("reverse", length=20, train_examples=100)
        >>> source, target = next(iter(data.examples("train")))
        >>> target.split() == source.split()[::-1]
        True
        >>> model = sl.Transformer(data.spec)  # doctest: +SKIP
        >>> L.Trainer(max_epochs=10).fit(model, data)  # doctest: +SKIP
        >>> model.generate(["3 1 4"])  # doctest: +SKIP
        ['4 1 3']
    """

    def __init__(
        self,
        operation: Operation = "reverse",
        length: int = 10,
        *,
        task: SyntheticTask = "sequence-to-sequence",
        min_length: int = 1,
        vocabulary: int = 10,
        train_examples: int = 10_000,
        held_out_examples: int = 1_000,
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        if operation not in _OPERATIONS:
            raise ValueError(
                f"expected operation to be one of {', '.join(_OPERATIONS)}, got {operation!r}"
            )
        if task not in _TASKS:
            raise ValueError(f"expected task to be one of {', '.join(_TASKS)}, got {task!r}")
        if not 1 <= min_length <= length:
            raise ValueError(
                f"expected 1 <= min_length <= length, got min_length={min_length}, length={length}"
            )
        if vocabulary < 2:
            raise ValueError(f"expected a vocabulary of at least 2 symbols, got {vocabulary}")
        if operation == "add" and vocabulary != 10:
            raise ValueError(
                f"operation='add' is decimal, got vocabulary={vocabulary}; remove it, or use "
                "operation='copy', 'reverse' or 'sort'"
            )
        for name, value in (("train", train_examples), ("held_out", held_out_examples)):
            if value < 1:
                raise ValueError(f"expected {name}_examples of at least 1, got {value}")
        text = Text("char" if operation == "add" else "word")
        super().__init__(
            source=text,
            target=Classes() if task == "sequence-to-vector" else text,
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )
        self.operation, self.task = operation, task
        self.length, self.min_length = length, min_length
        self.vocabulary = vocabulary
        self.train_examples, self.held_out_examples = train_examples, held_out_examples
        longest = self._possible((length,))
        if longest < _HELD_OUT_SHARE:
            raise ValueError(
                f"length={length} and vocabulary={vocabulary} make only {longest} sequences of "
                f"the maximum length, expected at least {_HELD_OUT_SHARE}, so that some can be "
                "held out; increase one of the two"
            )

    def fingerprint(self) -> str:
        """The arguments, which determine the examples."""
        return json.dumps(
            {
                "source": type(self).__qualname__,
                "operation": self.operation,
                "task": self.task,
                "length": [self.min_length, self.length],
                "vocabulary": self.vocabulary,
                "examples": [self.train_examples, self.held_out_examples],
                "seed": self.seed,
            }
        )

    def examples(self, split: Split) -> Iterator[tuple[str, str]]:
        """Yield a source and its target sequence, or the last symbol of that as a label.

        With classes, a held-out example whose class does not occur in training is excluded.

        Raises:
            ValueError: If a symbol does not occur in training.
        """
        separator = "" if self.operation == "add" else " "
        pairs = map(self._pair, self._splits[split])
        if self.task == "sequence-to-sequence":
            for source, target in pairs:
                yield separator.join(source), separator.join(target)
            return
        classes = {self._pair(drawn)[1][-1] for drawn in self._splits["train"]}
        for source, target in pairs:
            if target[-1] in classes:
                yield separator.join(source), target[-1]

    @functools.cached_property
    def _splits(self) -> dict[Split, list[_Drawn]]:
        """The sources of each split, all different."""
        draw = seeded_rng(f"synthetic {self.seed}")
        lengths = range(self.min_length, self.length + 1)
        sizes = itertools.product(lengths, repeat=2 if self.operation == "add" else 1)
        possible = {size: self._possible(size) for size in sizes}
        held = {size: count // _HELD_OUT_SHARE for size, count in possible.items()}
        seen: set[_Drawn] = set()
        taken: Counter[tuple[int, ...]] = Counter()

        def fill(wanted: int, limits: dict[tuple[int, ...], int]) -> list[_Drawn]:
            """Draw until there are enough, or all sizes have reached their limit."""
            found: list[_Drawn] = []
            sizes = [size for size in possible if taken[size] < limits[size]]
            while sizes and len(found) < wanted:
                index = draw.randrange(len(sizes))
                size = sizes[index]
                drawn = self._draw(size, draw)
                if drawn in seen:
                    continue
                seen.add(drawn)
                found.append(drawn)
                taken[size] += 1
                if taken[size] == limits[size]:
                    del sizes[index]
            return found

        test = fill(self.held_out_examples, held)
        val = fill(self.held_out_examples, {size: 2 * count for size, count in held.items()})
        train = fill(self.train_examples, possible)
        symbols = {symbol for drawn in train for symbol in self._pair(drawn)[0]} - {"+"}
        if len(symbols) < self.vocabulary:
            raise ValueError(
                f"the {len(train)} training examples have only {len(symbols)} of the "
                f"{self.vocabulary} symbols, expected all; increase length or train_examples, or "
                "decrease vocabulary"
            )
        return {"train": train, "val": val, "test": test}

    def _possible(self, size: tuple[int, ...]) -> int:
        """Number of possible examples of a size: of a length, or of two digit counts."""
        if self.operation == "add":
            return math.prod(10**digits - _smallest(digits) for digits in size)
        return self.vocabulary ** size[0]

    def _draw(self, size: tuple[int, ...], draw: random.Random) -> _Drawn:
        if self.operation == "add":
            return tuple(draw.randrange(_smallest(digits), 10**digits) for digits in size)
        return tuple(draw.choices(range(self.vocabulary), k=size[0]))

    def _pair(self, drawn: _Drawn) -> tuple[list[str], list[str]]:
        """The symbols of a source and of its target."""
        if self.operation == "add":
            first, second = drawn
            return list(f"{first}+{second}"), list(str(first + second))
        symbols = [str(symbol) for symbol in drawn]
        if self.operation == "sort":
            return symbols, sorted(symbols, key=int)
        return symbols, symbols if self.operation == "copy" else symbols[::-1]


def _smallest(digits: int) -> int:
    """The smallest number with this many digits, without leading zeros."""
    return 0 if digits == 1 else 10 ** (digits - 1)
