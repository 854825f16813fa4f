"""Every architecture on every task of `Dates`, in one table.

    python -m benchmarks dates [--only LSTM RNN …] [--tasks sequence-to-sequence …] [--out FILE]

Each is trained on 20,000 dates and tested on 1,000 others, seed 0. The table is written row by row.
An LSTM or GRU that generates from one context vector trains longer, on smaller batches, and with a
gate that preserves almost all of the state at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lightning as L

import seqlearn as sl
from benchmarks.fitting import Table, fit, options, said

TASKS = ("sequence-to-sequence", "sequence-to-vector", "vector-to-sequence")
EPOCHS = {"sequence-to-sequence": 6, "sequence-to-vector": 2, "vector-to-sequence": 6}
ARCHITECTURES: dict[str, tuple[Callable[..., sl.SequenceModule], dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"window": 40, "num_layers": 2}),
    "RNN": (sl.RNN, {"d_model": 256}),
    "GRU": (sl.GRU, {"d_model": 256}),
    "LSTM": (sl.LSTM, {"d_model": 256}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {"d_model": 128}),
    "Transformer": (sl.Transformer, {"d_model": 128, "num_layers": 2}),
}

FROM_ONE_VECTOR: dict[str, dict[str, Any]] = {
    "LSTM": {"forget_bias": 4.0, "dropout": 0.0},
    "GRU": {"update_bias": 4.0, "dropout": 0.0},
}


def main() -> None:
    """Run what was asked for."""
    parser = options(__doc__, ARCHITECTURES, "runs/dates.md")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    args = parser.parse_args()
    table = Table(
        args.out, ["task", "architecture", "trained weights", "epochs", "CPU time", "accuracy"]
    )
    for task in args.tasks:
        for name in args.only:
            L.seed_everything(0, verbose=False)
            cls, arguments = ARCHITECTURES[name]
            epochs, lr, batch_tokens = EPOCHS[task], 2e-3, 2048
            if task != "sequence-to-vector" and name in FROM_ONE_VECTOR:
                arguments = arguments | FROM_ONE_VECTOR[name]
                epochs, lr, batch_tokens = 20, 4e-3, 1024
                if task == "sequence-to-sequence":
                    arguments["bidirectional"] = True
            data = sl.data.Dates("en", "de", task=task, batch_tokens=batch_tokens)
            recipe = sl.Recipe(lr=lr, warmup_steps=200, schedule="cosine")
            model = cls(data.spec, recipe=recipe, **arguments)
            result = fit(model, data, max_epochs=epochs)
            figure = "test/accuracy" if task == "sequence-to-vector" else "test/exact_match"
            table.add(
                [
                    task,
                    f"`{name}({said(arguments)})`",
                    f"{result.weights / 1e6:.2f} M",
                    epochs,
                    f"{result.seconds:.0f} s",
                    f"{100 * result.figures[figure]:.1f}%",
                ]
            )
