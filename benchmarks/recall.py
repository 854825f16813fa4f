"""How far back can each architecture remember? `Recall` at growing distances, at about equal size.

    python benchmarks/recall.py [--only LSTM …] [--distances 10 100 300 1000] [--out FILE]

"I grew up in Germany …, I speak fluent" and `distance` words between: ten languages, so a guess is
right one time in ten. Every architecture gets the same texts, in the same order, and as many
epochs. Seed 0.
"""

from __future__ import annotations

from typing import Any

import lightning as L
from fitting import Table, fit, options, said

import seqlearn as sl

EPOCHS = 10
ARCHITECTURES: dict[str, tuple[type[sl.SequenceModule], dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"window": 64, "d_model": 36, "longer": "cut"}),
    "RNN": (sl.RNN, {"d_model": 152}),
    "GRU": (sl.GRU, {"d_model": 104}),
    "LSTM": (sl.LSTM, {"d_model": 88}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {"d_model": 80, "bidirectional": False}),
    "Transformer": (sl.Transformer, {"d_model": 56, "num_layers": 2}),
}


def main() -> None:
    """Run what was asked for."""
    parser = options(__doc__, ARCHITECTURES, "runs/recall.md")
    parser.add_argument("--distances", nargs="+", type=int, default=[10, 100, 300, 1000])
    asked = parser.parse_args()
    table = Table(asked.out, ["distance", "architecture", "trained weights", "CPU time", "right"])
    for distance in asked.distances:
        data = sl.data.Recall(distance)
        for name in asked.only:
            L.seed_everything(0, verbose=False)
            cls, arguments = ARCHITECTURES[name]
            recipe = sl.Recipe(lr=2e-3, warmup_steps=100, schedule="cosine")
            model = cls(data.spec, dropout=0.0, recipe=recipe, **arguments)
            result = fit(model, data, max_epochs=EPOCHS)
            table.add(
                [
                    distance,
                    f"`{name}({said(arguments)})`",
                    f"{result.weights / 1e3:.0f} k",
                    f"{result.seconds:.0f} s",
                    f"{100 * result.figures['test/accuracy']:.1f}%",
                ]
            )


if __name__ == "__main__":
    main()
