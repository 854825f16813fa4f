"""Series to class: nine speakers told apart by one vowel (JapaneseVowels, Kudo et al. 1999).

    python -m benchmarks japanese_vowels --root FOLDER [--only LSTM …] [--seeds 0 1 2] [--out FILE]

FOLDER holds `JapaneseVowels_TRAIN.ts` and `JapaneseVowels_TEST.ts` of the UEA archive, 270 and 370
series of 7 to 29 steps of 12 numbers; the packages aeon and sktime contain them. A fifth of the
training series is the validation split; the test split is measured once, at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np

import seqlearn as sl
from benchmarks.fitting import Table, fit, options, said

EPOCHS = 60
ARCHITECTURES: dict[str, tuple[type[sl.SequenceModule], dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"window": 29, "d_model": 64, "dropout": 0.5}),
    "RNN": (sl.RNN, {"d_model": 64, "dropout": 0.3, "bidirectional": True}),
    "GRU": (sl.GRU, {"d_model": 64, "dropout": 0.3, "bidirectional": True}),
    "LSTM": (sl.LSTM, {"d_model": 64, "dropout": 0.3, "bidirectional": True}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {"d_model": 64, "dropout": 0.3}),
    "Transformer": (sl.Transformer, {"d_model": 64, "num_layers": 2, "dropout": 0.3}),
}


def read_ts(path: Path) -> tuple[list[np.ndarray], list[str]]:
    """The series, `time size`, and the labels of a `.ts` file."""
    series, labels = [], []
    content = path.read_text(encoding="utf-8").lower().partition("@data")[2]
    for line in content.split():
        *channels, label = line.split(":")
        series.append(np.array([[float(x) for x in channel.split(",")] for channel in channels]).T)
        labels.append(label)
    return series, labels


def main() -> None:
    """Run what was asked for."""
    parser = options(__doc__, ARCHITECTURES, "runs/japanese_vowels.md")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    args = parser.parse_args()
    train, test = (read_ts(args.root / f"JapaneseVowels_{split}.ts") for split in ("TRAIN", "TEST"))
    table = Table(
        args.out, ["architecture", "seed", "trained weights", "CPU time", "validation", "test"]
    )
    for name in args.only:
        for seed in args.seeds:
            data = sl.data.SeriesFiles(train, 0.2, test, batch_tokens=512, seed=0)
            L.seed_everything(seed, verbose=False)
            cls, arguments = ARCHITECTURES[name]
            recipe = sl.Recipe(
                lr=2e-3, warmup_steps=50, schedule="cosine", label_smoothing=0.1, seed=seed
            )
            model = cls(data.spec, recipe=recipe, **arguments)
            result = fit(model, data, max_epochs=EPOCHS)
            table.add(
                [
                    f"`{name}({said(arguments)})`",
                    seed,
                    f"{result.weights / 1e3:.0f} k",
                    f"{result.seconds:.0f} s",
                    f"{100 * result.figures['val/accuracy']:.1f}%",
                    f"{100 * result.figures['test/accuracy']:.1f}%",
                ]
            )


if __name__ == "__main__":
    main()
