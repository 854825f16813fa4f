"""Sequence to vector: classification of questions into six types (TREC, Li & Roth 2002).

    python -m benchmarks trec --root FOLDER [--only LSTM …] [--seeds 0 1 2] [--out FILE]

FOLDER holds `train.txt` and `test.txt`: 5,452 and 500 questions, one `LABEL:fine question` per
line. No pretrained vectors. A tenth of the training questions is the validation split, on which the
sizes below were chosen; the test split is measured once, at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L

import seqlearn as sl
from benchmarks.fitting import Table, fit, options, said

EPOCHS = 12
ARCHITECTURES: dict[str, tuple[type[sl.SequenceModule], dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"window": 40, "d_model": 128, "dropout": 0.5}),
    "RNN": (sl.RNN, {"d_model": 256, "dropout": 0.5, "bidirectional": True}),
    "GRU": (sl.GRU, {"d_model": 256, "dropout": 0.5, "bidirectional": True}),
    "LSTM": (sl.LSTM, {"d_model": 256, "dropout": 0.5, "bidirectional": True}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {"d_model": 256, "dropout": 0.5}),
    "Transformer": (sl.Transformer, {"d_model": 128, "num_layers": 2, "dropout": 0.3}),
}


def main() -> None:
    """Run what was asked for."""
    parser = options(__doc__, ARCHITECTURES, "runs/trec.md")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    args = parser.parse_args()
    table = Table(
        args.out, ["architecture", "seed", "trained weights", "CPU time", "validation", "test"]
    )
    for name in args.only:
        for seed in args.seeds:
            data = sl.data.LabelledText(
                args.root / "train.txt",
                0.1,
                args.root / "test.txt",
                sl.data.Text("word", vocab_size=4000, lowercase=True),
                label_separator=":",
                encoding="latin-1",
                batch_tokens=1024,
                seed=0,
            )
            L.seed_everything(seed, verbose=False)
            cls, arguments = ARCHITECTURES[name]
            recipe = sl.Recipe(
                lr=2e-3, warmup_steps=100, schedule="cosine", label_smoothing=0.1, seed=seed
            )
            model = cls(data.spec, recipe=recipe, **arguments)
            result = fit(model, data, max_epochs=EPOCHS)
            table.add(
                [
                    f"`{name}({said(arguments)})`",
                    seed,
                    f"{result.weights / 1e6:.2f} M",
                    f"{result.seconds:.0f} s",
                    f"{100 * result.figures['val/accuracy']:.1f}%",
                    f"{100 * result.figures['test/accuracy']:.1f}%",
                ]
            )
