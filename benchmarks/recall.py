"""How far can each architecture remember? `Recall` at growing distances, with about equal sizes.

    python -m benchmarks recall [--only LSTM …] [--train 0 1 10 …] [--distances 10 …] [--out FILE]

"I grew up in Germany …, I speak fluent" with filler words in between: ten languages, so chance is
10%. Each architecture is trained once, on texts of all distances of `--train` together (short
distances teach *what* to remember; equally many words of each), all on the same texts in the same
order and for the same number of epochs, and is then tested at each of `--distances`. A cell is the
accuracy on 500 test texts and, in parentheses, on up to 500 training texts. "Remembers" is the
largest distance up to which test accuracy is at least 90%. Seed 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from typing import Any

import lightning as L

import seqlearn as sl
from benchmarks.fitting import Table, fit, options, said
from seqlearn.data import Recall
from seqlearn.data.module import Split

EPOCHS = 4
WORDS = 400_000  # of each distance, so that each has about as many steps of training
NEAR_AND_FAR = [0, 1, 10, 31, 100, 300, 1000]
ARCHITECTURES: dict[str, tuple[Callable[..., sl.SequenceModule], dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"window": 64, "d_model": 36, "overflow": "truncate"}),
    "RNN": (sl.RNN, {"d_model": 152}),
    "GRU": (sl.GRU, {"d_model": 104}),
    "LSTM": (sl.LSTM, {"d_model": 88}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {"d_model": 80, "bidirectional": False}),
    "Transformer": (sl.Transformer, {"d_model": 56, "num_layers": 2}),
}


def recall(distance: int, held_out: int = 500) -> Recall:
    """The texts of one distance."""
    return Recall(distance, train_examples=WORDS // (distance + 12), held_out_examples=held_out)


class Recalls(sl.data.SequenceDataModule):
    """`Recall` at several distances, together."""

    def __init__(self, distances: list[int]) -> None:
        super().__init__(sl.data.Text("word"), sl.data.Classes(), batch_tokens=8_192)
        self.parts = [recall(distance, held_out=100) for distance in distances]

    def examples(self, split: Split) -> Iterator[tuple[str | None, str]]:
        """Yield the texts of one distance after those of the other."""
        for part in self.parts:
            yield from part.examples(split)


def right(model: sl.SequenceModule, distance: int, split: Split) -> float:
    """The share of 500 texts of this distance that the model answers right."""
    examples = recall(distance).examples(split)
    texts, languages = zip(*islice(examples, 500), strict=True)
    answers = [model.classify(texts[i : i + 20])[0] for i in range(0, len(texts), 20)]
    pairs = zip((a for some in answers for a in some), languages, strict=True)
    return sum(answer == language for answer, language in pairs) / len(texts)


def holds_to(shares: dict[int, tuple[float, float]]) -> int | str:
    """The greatest distance up to which at least 90% of the test are right."""
    held = [*takewhile(lambda one: one[1][0] >= 0.9, shares.items())]
    return held[-1][0] if held else "–"


def main() -> None:
    """Run what was asked for."""
    parser = options(__doc__, ARCHITECTURES, "runs/recall.md")
    parser.add_argument("--train", nargs="+", type=int, default=NEAR_AND_FAR)
    parser.add_argument("--distances", nargs="+", type=int, default=[0, 10, 100, 300, 1000])
    args = parser.parse_args()
    distances = sorted(args.distances)
    names = ["architecture", "trained weights", "CPU time", *map(str, distances), "remembers"]
    table = Table(args.out, names)
    data = Recalls(args.train)
    for name in args.only:
        L.seed_everything(0, verbose=False)
        cls, arguments = ARCHITECTURES[name]
        recipe = sl.Recipe(lr=2e-3, warmup_steps=100, schedule="cosine")
        model = cls(data.spec, dropout=0.0, recipe=recipe, **arguments)
        result = fit(model, data, max_epochs=EPOCHS, tested=False)
        shares = {d: (right(model, d, "test"), right(model, d, "train")) for d in distances}
        table.add(
            [
                f"`{name}({said(arguments)})`",
                f"{result.weights / 1e3:.0f} k",
                f"{result.seconds:.0f} s",
                *(f"{100 * test:.1f}% ({100 * train:.1f}%)" for test, train in shares.values()),
                holds_to(shares),
            ]
        )
