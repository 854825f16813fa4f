"""`Waveforms`: noisy periodic signals of unequal lengths, as an example of series."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqlearn.data.fields import Classes, Text
from seqlearn.data.module import SPLITS, SequenceDataModule, Split
from seqlearn.data.series_field import Series
from seqlearn.data.vector_field import Vector

WaveformTarget = Literal["form", "continuation", "description"]

FORMS = ("sawtooth", "sine", "square", "triangle")
_SHORTEST_PERIOD, _LONGEST_PERIOD = 8, 16


class Waveforms(SequenceDataModule):
    """Series of numbers: a sine, square, triangle or sawtooth wave with noise.

    Form, period (8 to 16 steps), phase, amplitude (0.5 to 2) and length are drawn for each example.
    Nothing is downloaded. One set serves every task with a series as source:

    - `"form"`: to the form, as a class; chance level is 1/4;
    - `"continuation"`: to the next `horizon` numbers without noise, as a vector (a forecast);
    - `"description"`: to a text of two words, form and period, such as `"square 12"`.

    Args:
        target: One of the three.
        noise: Standard deviation of the noise that is added to each number.
        min_length: Fewest time steps of a series.
        max_length: Most time steps of a series.
        horizon: Numbers to forecast, for `"continuation"`.
        train_examples: Number of training examples.
        held_out_examples: Number of validation examples, and of test examples.
        batch_tokens: Budget of a batch, see `SequenceDataModule`; a time step counts as a token.
        seed: Determines the examples and the order of training.
        num_workers: Number of worker processes that slice batches.

    Raises:
        ValueError: If the target does not exist, or a number is out of range.

    Examples:
        >>> data = Waveforms(min_length=20, max_length=30)
        >>> series, form = next(data.examples("train"))
        >>> series.shape[1], form in FORMS
        (1, True)
    """

    def __init__(
        self,
        target: WaveformTarget = "form",
        *,
        noise: float = 0.3,
        min_length: int = 24,
        max_length: int = 48,
        horizon: int = 8,
        train_examples: int = 4000,
        held_out_examples: int = 500,
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        fields = {
            "form": Classes(),
            "continuation": Vector(max(1, horizon), normalize=True),
            "description": Text("word"),
        }
        if target not in fields:
            raise ValueError(f"expected target to be one of {', '.join(fields)}, got {target!r}")
        if not 1 <= min_length <= max_length:
            raise ValueError(
                f"expected 1 <= min_length <= max_length, got {min_length} and {max_length}"
            )
        if not 0 <= noise < math.inf:
            raise ValueError(f"expected a noise of at least 0, got {noise}")
        counts = {
            "horizon": horizon,
            "train_examples": train_examples,
            "held_out_examples": held_out_examples,
        }
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}")
        super().__init__(
            Series(1),
            fields[target],
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )
        self.target_name, self.noise, self.horizon = target, float(noise), horizon
        self.min_length, self.max_length = min_length, max_length
        self.train_examples, self.held_out_examples = train_examples, held_out_examples

    def fingerprint(self) -> str:
        """The arguments, which determine the examples."""
        arguments = (self.target_name, self.noise, self.min_length, self.max_length, self.horizon)
        counts = (self.train_examples, self.held_out_examples)
        return json.dumps(["Waveforms 1", *arguments, *counts, self.seed])

    def examples(self, split: Split) -> Iterator[tuple[NDArray[np.float32], Any]]:
        """Yield a series and its target; forms alternate, so that they are equally frequent."""
        rng = np.random.default_rng([self.seed, SPLITS.index(split)])
        count = self.train_examples if split == "train" else self.held_out_examples
        for number in range(count):
            form = FORMS[number % len(FORMS)]
            length = int(rng.integers(self.min_length, self.max_length + 1))
            period = int(rng.integers(_SHORTEST_PERIOD, _LONGEST_PERIOD + 1))
            amplitude, phase = rng.uniform(0.5, 2.0), rng.uniform(0.0, 1.0)
            times = np.arange(length + self.horizon) / period + phase
            clean = amplitude * wave(form, times)
            noisy = clean[:length] + self.noise * rng.normal(size=length)
            series = noisy.astype(np.float32)[:, None]
            if self.target_name == "form":
                yield series, form
            elif self.target_name == "continuation":
                yield series, clean[length:].astype(np.float32)
            else:
                yield series, f"{form} {period}"


def wave(form: str, periods: NDArray[np.float64]) -> NDArray[np.float64]:
    """A wave between -1 and 1 at some times, given in periods.

    Examples:
        >>> wave("triangle", np.array([0.0, 0.25, 0.5, 0.75])).tolist()
        [0.0, 1.0, 0.0, -1.0]
    """
    part = periods % 1.0
    if form == "sine":
        return np.sin(2 * np.pi * part)
    if form == "square":
        return np.where(part < 0.5, 1.0, -1.0)
    if form == "triangle":
        return 1 - 4 * np.abs((part + 0.25) % 1.0 - 0.5)
    return 2 * part - 1
