"""Small data modules and models, which the processes of a comparison import by name."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Unpack

import lightning as L

import seqlearn as sl
from seqlearn.data import Classes, SequenceDataModule, Series, Tags, Text, Vector

SIZES = {"train": 40, "val": 12, "test": 20}

TASKS = ("text", "class", "vector", "series", "tags", "language model")


class Letters(SequenceDataModule):
    """Words of random letters: reversed, classified, counted, or alone."""

    def __init__(self, task: str = "text") -> None:
        text = Text("char")
        sides: dict[str, Any] = {
            "text": (text, text),
            "class": (text, Classes()),
            "vector": (text, Vector(2)),
            "series": (Series(1), Classes()),
            "tags": (Text("word"), Tags()),
            "language model": (None, text),
        }
        self.task = task
        super().__init__(*sides[task], batch_tokens=64)

    def examples(self, split: str) -> Iterator[tuple[Any, Any]]:
        rng = random.Random(split)
        for number in range(SIZES[split]):
            word = "".join(rng.choice("abcd") for _ in range(1 + number % 6))
            yield {
                "text": (word, word[::-1]),
                "class": (word, word[0]),
                "vector": (word, [word.count("a"), word.count("b")]),
                "series": ([[ord(letter) - 98.0] for letter in word], word[0]),
                "tags": (" ".join(word), ["vowel" if each == "a" else "other" for each in word]),
                "language model": (None, word),
            }[self.task]


class Failing(sl.GRU):
    """A model that fails in training."""

    def encode(self, *arguments: Any) -> Any:
        if self.training:
            raise RuntimeError("the\nthing is broken")
        return super().encode(*arguments)


class Fixed(sl.SequenceModule):
    """A model without `d_model`."""

    def __init__(self, spec: sl.SequenceSpec, **base: Unpack[sl.BaseOptions]) -> None:
        super().__init__(spec, d_model=8, **base)
        other = sl.GRU(spec, d_model=8)
        self.encoder, self.decoder = other.encoder, other.decoder


class Stop(L.Callback):
    """Sends SIGTERM at a step, once: a file says that it has."""

    def __init__(self, step: int, mark: Path) -> None:
        self.step, self.mark = step, mark

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step and not self.mark.exists():
            self.mark.write_text("sent", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGTERM)
