"""What changes prepared data gives it another key; what is incomplete is never stored."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqlearn as sl
from seqlearn.data.preparation import _class_of

TEXTS = ["good film", "bad film", "fine film", "poor film"]
WORDS = [f"w{number}" for number in range(2000)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))


def reviews(names: list[str] | None, labels: Any = (0, 1, 0, 1)) -> Any:
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install '.[datasets]'")
    made = datasets.Dataset.from_dict({"text": TEXTS, "label": list(labels)})
    if names is None:
        return made
    label = datasets.ClassLabel(names=names)
    return made.cast_column("label", datasets.List(label) if labels != (0, 1, 0, 1) else label)


def labels_of(names: list[str] | None) -> tuple[str, ...]:
    """The label of the first text, by the spec of the prepared data."""
    data = sl.data.LabelledText(reviews(names))
    data.setup("fit")
    target: Any = data.spec.target
    first = int(data.dataset("train")[0].target[0])
    return target.labels[first], *target.labels


def test_other_names_of_labels_are_other_data() -> None:
    assert labels_of(None)[0] == "0"
    assert labels_of(["bad", "good"])[0] == "bad"
    assert labels_of(["good", "bad"])[0] == "good"


def test_names_of_several_labels_are_those_of_the_dataset() -> None:
    several = reviews(["bad", "good"], ([0], [0, 1], [], [1]))
    data = sl.data.LabelledText(several, label_delimiter=",")
    assert [labels for _, labels in data.examples("train")] == [
        ["bad"],
        ["bad", "good"],
        [],
        ["good"],
    ]
    wrong = sl.data.LabelledText(
        reviews(["bad", "good"], ([0], [0, -1], [], [1])), label_delimiter=","
    )
    with pytest.raises(ValueError, match=r"row 1: expected a label from 0 to 1, got -1"):
        list(wrong.examples("train"))


def test_a_word_in_the_middle_of_a_long_array_counts() -> None:
    """The `repr` of an array above 1,000 cells leaves most of them out."""
    changed = [*WORDS[:1000], "changed", *WORDS[1001:]]
    keys = {
        sl.data.TaggedText(
            [{"words": np.array(words), "tags": np.array(["X"] * 2000)}]
        ).fingerprint()
        for words in (WORDS, changed)
    }
    assert len(keys) == 2


def test_a_field_of_a_user_has_the_key_of_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for length in (1, 22):
        code = "from seqlearn.data import Text\n\n\nclass Mine(Text):\n"
        code += f"    def cut(self, text):\n        return text[:{length}]\n"
        (tmp_path / "own_fields.py").write_text(code, encoding="utf-8")
        sys.modules.pop("own_fields", None)  # as in a new process
        importlib.invalidate_caches()
        found.append(_class_of(importlib.import_module("own_fields").Mine("char")))
    assert len(set(found)) == 2
    assert _class_of(sl.data.Text("char")) == f"{sl.data.Text.__module__}.Text"


def test_a_stream_that_was_read_in_part_is_not_stored() -> None:
    def rows() -> Iterator[dict[str, Any]]:
        for number in range(6000):
            yield {"source": "a b", "target": None if number == 2000 else "b a"}

    stream = sl.data.Stream(rows(), "rows 1")
    data = sl.data.TextPairs(stream)
    with pytest.raises(ValueError, match="row 2000"):
        data.prepare_data()
    with pytest.raises(ValueError, match="can be read only once, and an earlier attempt stopped"):
        data.prepare_data()
    with pytest.raises(ValueError, match="can be read only once"):
        sl.data.TextPairs(stream).prepare_data()
    again = sl.data.Stream([{"source": "a", "target": "b"}] * 3, "rows 2")  # a list starts anew
    assert [len(list(again.start())) for _ in range(2)] == [3, 3]


def test_data_that_is_prepared_without_assertions_is_complete(tmp_path: Path) -> None:
    code = (
        "import seqlearn as sl\n"
        "data = sl.data.TextPairs([('a b', 'b a')] * 5)\n"
        "data.setup('fit')\n"
        "print(len(data.dataset('train')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert done.stdout == "5\n", done.stderr
