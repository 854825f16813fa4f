"""Every data module can be sent to another process, as `sl.compare` and spawned workers need."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

import seqlearn as sl

LABELLED = [("fine", "ham"), ("see you", "ham"), ("win money", "spam")] * 4
PAIRS = [("a b", "b a"), ("b c", "c b")] * 4
SERIES = [[[0.0], [1.0], [2.0]], [[1.0], [2.0], [3.0]]] * 4
TABLE = [
    {"id": number, "time": time, "x": x, "label": "ab"[number % 2]}
    for number, series in enumerate(SERIES)
    for time, (x,) in enumerate(series)
]

SOURCES: dict[str, Callable[[], sl.data.SequenceDataModule]] = {
    "classes": lambda: sl.data.LabelledText(LABELLED, val=0.25),
    "any number of labels": lambda: sl.data.LabelledText(LABELLED, val=0.25, label_delimiter=","),
    "series": lambda: sl.data.SeriesFiles((SERIES, ["a", "b"] * 4), val=0.25),
    "table of series": lambda: sl.data.SeriesFiles(TABLE, val=0.25),
    "forecast": lambda: sl.data.SeriesFiles(SERIES, val=0.25, horizon=1),
    "tags": lambda: sl.data.TaggedText([("a b", "X Y"), ("b", "Y")] * 4, val=0.25),
    "pairs": lambda: sl.data.TextPairs(PAIRS, val=0.25),
    "vectors": lambda: sl.data.Vectors([([1.0, 2.0], "a"), ([2.0, 1.0], "b")] * 4, val=0.25),
    "plain": lambda: sl.data.PlainText([("a b c d ",)] * 8, val=0.25, window=4),
    "waveforms": lambda: sl.data.Waveforms("form"),
    "synthetic": lambda: sl.data.Synthetic("sort", length=3),
    "recall": lambda: sl.data.Recall(distance=2),
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_copy_has_the_same_examples(name: str) -> None:
    data = SOURCES[name]()
    copied = pickle.loads(pickle.dumps(data))
    for split in ("train", "val"):
        assert repr(list(copied.examples(split))[:5]) == repr(list(data.examples(split))[:5])
    assert copied.fingerprint() == data.fingerprint()
