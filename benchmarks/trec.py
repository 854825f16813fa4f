"""Sequence to vector: which of six kinds of answer a question asks for (TREC, Li & Roth 2002).

    python benchmarks/trec.py --root FOLDER [--only LSTM …] [--seeds 0 1 2] [--out FILE]

FOLDER holds `train_5500.label` and `TREC_10.label`. No pretrained vectors; a tenth of the training
questions is the validation split, and the test split is measured once, at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from fitting import Table, fit, options, said

import seqlearn as sl

EPOCHS = 12
ARCHITECTURES: dict[str, tuple[type[sl.SequenceModule], dict[str, Any]]] = {
    "FeedForward": (sl.FeedForward, {"window": 40, "d_model": 128, "dropout": 0.5}),
    "RNN": (sl.RNN, {"d_model": 256, "dropout": 0.5, "bidirectional": True}),
    "GRU": (sl.GRU, {"d_model": 256, "dropout": 0.5, "bidirectional": True}),
    "LSTM": (sl.LSTM, {"d_model": 256, "dropout": 0.5, "bidirectional": True}),
    "AttentionSeq2Seq": (sl.AttentionSeq2Seq, {"d_model": 256, "dropout": 0.5}),
    "Transformer": (sl.Transformer, {"d_model": 128, "num_layers": 2, "dropout": 0.3}),
}
