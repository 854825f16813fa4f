"""Character-level language models on tiny Shakespeare: nanoGPT's published setting for a CPU.

    python -m benchmarks shakespeare --file input.txt [--only Transformer …] [--out FILE]

Four layers, four heads, d_model 128, windows of 64 characters, 12 per batch, 2,000 steps, no
dropout; the last tenth of the text is the validation split. The recurrent models process the same
number of characters and carry their state from window to window. Seed 0. Losses in nats per
character.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

import seqlearn as sl
from benchmarks.fitting import Table, fit, options, said

WINDOW, STREAMS, STEPS = 64, 12, 2000
ARCHITECTURES: dict[str, tuple[Callable[..., sl.SequenceModule], dict[str, Any], float]] = {
    "Transformer": (
        sl.Transformer,
        {"d_model": 128, "num_layers": 4, "num_heads": 4, "norm": "pre"},
        2e-3,
    ),
    "LSTM": (sl.LSTM, {"d_model": 256}, 4e-3),
    "GRU": (sl.GRU, {"d_model": 256}, 4e-3),
    "RNN": (sl.RNN, {"d_model": 512}, 2e-3),
    "FeedForward": (sl.FeedForward, {"d_model": 128, "window": 16}, 4e-3),
}


def main() -> None:
    """Run what was asked for."""
    parser = options(__doc__, ARCHITECTURES, "runs/shakespeare.md")
    parser.add_argument("--file", type=Path, required=True)
    args = parser.parse_args()
    table = Table(
        args.out, ["architecture", "lr", "trained weights", "CPU time", "validation loss"]
    )
    for name in args.only:
        data = sl.data.PlainText(args.file, 0.1, window=WINDOW, batch_tokens=WINDOW * STREAMS)
        L.seed_everything(0, verbose=False)
        cls, arguments, lr = ARCHITECTURES[name]
        recipe = sl.Recipe(lr=lr, warmup_steps=100, schedule="cosine", beta2=0.99)
        model = cls(data.spec, dropout=0.0, recipe=recipe, **arguments)
        result = fit(model, data, max_steps=STEPS, tested=False)
        table.add(
            [
                f"`{name}({said(arguments)})`",
                lr,
                f"{result.weights / 1e6:.2f} M",
                f"{result.seconds:.0f} s",
                f"{result.figures['val/loss']:.3f}",
            ]
        )
