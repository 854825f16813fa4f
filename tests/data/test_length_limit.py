from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqlearn as sl
from seqlearn.data import Classes, LabelledText, PlainText, SeriesFiles, Text, TextPairs, Vectors

PAIRS = [("ab", "xy"), ("abcd", "x"), ("a", "xyxy"), ("b", "y"), ("abcdef", "xyx")]


def pairs(source: Any = None, target: Any = None, train: Any = PAIRS) -> TextPairs:
    return TextPairs(train, PAIRS, source=source or Text(), target=target or Text())


def texts(data: Any, split: str = "train") -> list[tuple[str, str]]:
    """What a split holds, decoded from its batches."""
    dataset = data.dataset(split)
    batch = dataset[list(range(len(dataset)))]
    lengths = batch.source_lengths.tolist()
    sources = [row[:n] for row, n in zip(batch.source.tolist(), lengths, strict=True)]
    spec = data.spec
    decoded = spec.source.decode(sources), spec.target.decode(batch.target.tolist())
    return list(zip(*decoded, strict=True))


def test_without_a_limit_all_is_kept() -> None:
    assert texts(pairs()) == PAIRS


def test_a_long_example_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in PAIRS), encoding="utf-8")
    message = r"a\.tsv, line 2: source: expected at most max_length=3 tokens, got 4; .*'truncate'"
    with pytest.raises(ValueError, match=message):
        TextPairs(str(path), source=Text(max_length=3), target=Text()).setup("fit")
    message = r"a\.tsv, line 3: target: expected at most max_length=3 tokens, got 4"
    with pytest.raises(ValueError, match=message):
        TextPairs(str(path), source=Text(), target=Text(max_length=3)).setup("fit")
    assert texts(pairs(Text(max_length=6), Text(max_length=4))) == PAIRS


def test_long_examples_are_dropped_with_a_count() -> None:
    message = (
        r"^train: 3 of 5 examples are dropped, because they are longer than max_length "
        r"allows \(source 3, target 3\); the first is train dataset, row 1$"
    )
    limits = [Text(max_length=3, overflow="drop") for _ in "st"]
    for _ in range(2):  # the second time from the cache
        data = pairs(*limits)
        with pytest.warns(UserWarning, match=message):
            assert texts(data) == [PAIRS[0], PAIRS[3]]
    assert texts(data, "val") == PAIRS  # what is evaluated is never changed
    assert data.spec.source.max_length == 6
    assert [data.dataset("train").origin(row) for row in range(2)] == [0, 3]
    assert data.dataset("val").origin(3) == 3


def test_errors_name_the_row_before_any_was_dropped() -> None:
    data = TextPairs(
        [("abcdefgh", "y"), *PAIRS[:3], ("abcde", "y")],
        source=Text(max_length=6, overflow="drop"),
        target=Text(),
        batch_tokens=4,
    )
    with pytest.warns(UserWarning, match="1 of 5 examples"):
        data.setup("fit")
    with pytest.raises(ValueError, match="train dataset, row 3"):
        data.train_dataloader()


def test_long_texts_are_truncated_with_a_count() -> None:
    source, target = (Text(max_length=3, overflow="truncate") for _ in "st")
    data = pairs(source, target)
    with pytest.warns(UserWarning, match="max_length") as warned:
        held = texts(data)
    assert held == [("ab", "xy"), ("abc", "x"), ("a", "xyx"), ("b", "y"), ("abc", "xyx")]
    assert sorted(str(one.message) for one in warned) == [
        f"train: the {side} of {count} of 5 examples is truncated to max_length (source 3, target "
        f"3); the first is train dataset, row {row}"
        for side, count, row in (("source", 2, 1), ("target", 1, 2))
    ]
    assert data.dataset("train").target_lengths.tolist() == [4, 3, 5, 3, 5]
    assert texts(data, "val") == PAIRS


def test_one_side_drops_and_the_other_truncates() -> None:
    data = pairs(Text(max_length=4, overflow="drop"), Text(max_length=2, overflow="truncate"))
    with pytest.warns(UserWarning, match="max_length") as warned:
        held = texts(data)
    assert held == [("ab", "xy"), ("abcd", "x"), ("a", "xy"), ("b", "y")]
    assert len(warned) == 2


def test_all_long() -> None:
    with pytest.raises(ValueError, match="max_length: all 2 training examples are longer"):
        pairs(Text(max_length=1, overflow="drop"), train=PAIRS[:2]).setup("fit")
    rows = [("a", "short"), ("a b", "short"), ("a b c", "long")]
    with pytest.raises(ValueError, match="all training examples of the label 'long' are longer"):
        LabelledText(rows, text=Text("word", max_length=2, overflow="drop")).setup("fit")


def test_other_sources() -> None:
    rows = [("a", "x"), ("a b", "y"), ("a b c", "x")]
    data: Any = LabelledText(rows, text=Text("word", max_length=2, overflow="drop"))
    with pytest.warns(UserWarning, match="1 of 3 examples are dropped"):
        held = data.dataset("train")
    assert (len(held), held[[0, 1]].target.tolist()) == (2, [0, 1])
    vectors = np.eye(3)
    data = Vectors((vectors, ["a", "abc", "b"]), text=Text(max_length=2, overflow="drop"))
    with pytest.warns(UserWarning, match="1 of 3 examples are dropped"):
        held = data.dataset("train")
    assert held[[0, 1]].source.tolist() == vectors[[0, 2]].tolist()
    with pytest.raises(ValueError, match="PlainText reads texts in windows, here of 8 tokens"):
        PlainText("a.txt", text=Text(max_length=9), window=8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"max_length": 0}, "max_length of at least 1, got 0"), ({"overflow": "cut"}, "one of error")],
)
def test_limits_that_make_no_sense(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Text.__post_init__(_unchecked(Text(), **arguments))


def _unchecked(one: Any, **values: Any) -> Any:
    """A field with values that the checks of types keep away in tests."""
    for name, value in values.items():
        object.__setattr__(one, name, value)
    return one


def test_fields_hold_plain_values() -> None:
    text = _unchecked(Text(), tokenizer=Path("a.json"), max_length=np.int64(3))
    text.__post_init__()
    assert [type(text.tokenizer), type(text.max_length)] == [str, int]
    vector = _unchecked(sl.data.Vector(3), size=np.int32(4))
    vector.__post_init__()
    assert type(vector.size) is int
    data = pairs()
    numbers = {"batch_tokens": np.int64(9), "seed": np.int32(1), "num_workers": np.int8(0)}
    module = sl.data.SequenceDataModule.__init__.__wrapped__  # type: ignore[attr-defined]
    module(data, Text(), Text(), **numbers)
    assert {type(value) for value in data._order().values()} == {int}


def test_class_weights_are_balanced() -> None:
    rows = [("a", "x")] * 6 + [("b", "y")] * 2 + [("a b", "z")] * 4
    spec: Any = LabelledText(rows).spec
    assert spec.target.weights is None

    def data(weights: Any) -> LabelledText:
        return LabelledText(rows, class_weights=weights)

    target: Any = data("balanced").spec.target
    np.testing.assert_allclose(target.weights, [12 / 18, 2.0, 1.0])
    given: Any = data({"x": 1, "y": 3, "z": 3}).spec.target
    np.testing.assert_allclose(given.weights, [0.5, 1.5, 1.5])
    assert sl.SequenceSpec.from_dict(data("balanced").spec.to_dict()).target == target
    for weights, said in (
        ({"x": 1.0, "y": 1.0}, "the data"),
        ({**dict.fromkeys("xyza", 1.0)}, "w"),
    ):
        with pytest.raises(ValueError, match=f"'[az]' is only in {said}"):
            data(weights).setup("fit")
    assert spec.diff(data("balanced").spec) == []  # ids mean the same


@pytest.mark.parametrize("weights", [{"x": 0.0}, {"x": -1.0}, {"x": float("inf")}])
def test_weights_that_make_no_sense(weights: Any) -> None:
    with pytest.raises(ValueError, match="expected weights above 0 and finite"):
        Classes(weights)


def test_labels_with_blanks_are_refused_in_a_source_of_ones_own() -> None:
    class Data(sl.data.SequenceDataModule):
        def __init__(self) -> None:
            super().__init__(Text(), Classes())

        def examples(self, split: str) -> Any:
            return [("a", "x"), ("b", "x ")] if split == "train" else []

    with pytest.raises(ValueError, match=r"train example 2: target: .* without whitespace at"):
        Data().setup("fit")


@pytest.mark.filterwarnings("ignore:the target has tokens")
def test_a_data_module_is_readable_before_and_after() -> None:
    data = TextPairs(PAIRS, 0.2, source=Text("bpe"), target=Text(max_length=9))
    assert (
        repr(data)
        == str(data)
        == (
            "TextPairs(source=Text('bpe'), target=Text('char', max_length=9), batch_tokens=None, "
            "seed=0)\n  not prepared"
        )
    )
    assert data._prepared is None
    data.setup("fit")
    lines = str(data).splitlines()
    assert lines[1] == "  examples: train 4, val 1, test 0"
    assert lines[2].startswith("  source: TextSpec(vocab_size=")
    assert len(str(data)) < 500
    joint = TextPairs(PAIRS, source=Text(), joint=True)
    assert "joint vocabulary" in repr(joint)
    labels = sl.ClassesSpec(tuple(f"label {n}" for n in range(100)))
    assert repr(labels) == (
        "ClassesSpec(100 labels: 'label 0', 'label 1', 'label 2', 'label 3', 'label 4', …)"
    )


SERIES = [np.arange(2 * n, dtype=np.float32).reshape(n, 2) for n in (2, 4, 3)]


def series(**options: Any) -> SeriesFiles:
    held_out = (SERIES, ["up", "up", "down"])
    return SeriesFiles(held_out, held_out, normalize=False, **options)


def lengths(data: Any, split: str) -> list[int]:
    dataset = data.dataset(split)
    return dataset[list(range(len(dataset)))].source_lengths.tolist()


def test_long_series_are_named_dropped_or_truncated() -> None:
    message = "series 2: source: expected at most max_length=3 time steps, got 4; remove"
    with pytest.raises(ValueError, match=message):
        series(max_length=3).setup("fit")
    with pytest.warns(UserWarning, match=r"1 of 3 examples are dropped, .* \(source 3\)"):
        assert lengths(series(max_length=3, overflow="drop"), "train") == [2, 3]
    data = series(max_length=3, overflow="truncate")
    with pytest.warns(UserWarning, match="the source of 1 of 3 examples is truncated"):
        assert lengths(data, "train") == [2, 3, 3]
    assert lengths(data, "val") == [2, 4, 3]
    batch = data.dataset("train")[[1]]
    assert batch.source[0].tolist() == SERIES[1][:3].tolist()
    assert repr(data.source) == (
        "Series(size=2, normalize=False, max_length=3, overflow='truncate')"
    )


def test_the_limit_of_a_forecast_is_its_window() -> None:
    with pytest.raises(ValueError, match="set window= instead"):
        SeriesFiles(SERIES, horizon=1, max_length=3)
    with pytest.raises(ValueError, match="a max_length of at least 1, got 0"):
        series(max_length=0)
