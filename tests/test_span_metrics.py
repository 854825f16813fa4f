"""Precision, recall and F1 of spans: by hand, against another count, in parts."""

from __future__ import annotations

import random
import sys

import pytest
import torch

from seqlearn.span_metrics import SpanStatistics

LABELS = ("B-city", "B-name", "I-city", "I-name", "O")


def update(
    metric: SpanStatistics, expected: list[list[str]], predicted: list[list[str]]
) -> dict[str, float]:
    sizes = [len(tags) for tags in expected]
    mask = torch.arange(max(sizes, default=0)) < torch.tensor(sizes)[:, None]
    ids = [
        torch.tensor([metric.labels.index(tag) for tags in rows for tag in tags], dtype=torch.long)
        for rows in (expected, predicted)
    ]
    metric.update(torch.ones(len(ids[0])), ids[0] == ids[1], mask, *ids)
    return {name: float(figure) for name, figure in metric.compute().items()}


def test_a_count_by_hand() -> None:
    expected = [
        ["B-name", "I-name", "O", "O", "B-city"],
        ["B-city", "B-city", "I-city"],
        ["O", "O"],
    ]
    predicted = [
        ["B-name", "I-name", "O", "O", "B-name"],  # the second span has another type
        ["B-city", "I-city", "I-city"],  # one span instead of two
        ["O", "I-city"],  # begins a span, as in conlleval
    ]
    found = update(SpanStatistics(LABELS), expected, predicted)
    # Expected: 1 name, 1 city; 2 cities. Predicted: 2 names; 1 city; 1 city. Right: 1 name.
    assert found == pytest.approx(
        {
            "loss": 1.0,
            "accuracy": 7 / 10,
            "precision": 1 / 4,
            "recall": 1 / 4,
            "f1": 1 / 4,
            "f1/city": 0.0,
            "f1/name": 2 / 3,
        }
    )


def spans(tags: list[str]) -> set[tuple[str, int, int]]:
    """The spans of a sentence, as conlleval finds them."""
    found, begin = set(), None
    for at, tag in enumerate([*tags, "O"]):
        kind = tag[2:]
        if begin is not None and (tag == "O" or tag[0] == "B" or kind != begin[0]):
            found.add((*begin, at))
            begin = None
        if tag != "O" and begin is None:
            begin = (kind, at)
    return found


def test_random_sentences_count_as_sets_of_spans_and_batches_add_up() -> None:
    rng = random.Random(0)
    rows = [
        [rng.choices(LABELS, [1, 1, 1, 1, 2], k=size) for size in sizes]
        for sizes in [[rng.randrange(9) for _ in range(40)]] * 2
    ]
    expected, predicted = (
        rows[0],
        [
            [tag if rng.random() < 0.7 else other for tag, other in zip(*pair, strict=True)]
            for pair in zip(*rows, strict=True)
        ],
    )
    whole = update(SpanStatistics(LABELS), expected, predicted)
    metric = SpanStatistics(LABELS)
    for start in range(0, 40, 7):
        parts = update(metric, expected[start : start + 7], predicted[start : start + 7])
    assert parts == pytest.approx(whole)
    for kind in (None, "city", "name"):
        chosen = [
            [{s for s in spans(tags) if kind in (None, s[0])} for tags in each]
            for each in (expected, predicted)
        ]
        right = sum(len(a & b) for a, b in zip(*chosen, strict=True))
        sizes = [sum(map(len, each)) for each in chosen]
        assert right > 5
        assert whole["f1" if kind is None else f"f1/{kind}"] == pytest.approx(
            2 * right / sum(sizes)
        )
        if kind is None:
            assert whole["recall"] == pytest.approx(right / sizes[0])
            assert whole["precision"] == pytest.approx(right / sizes[1])


def test_without_spans_the_figures_are_zero() -> None:
    found = update(SpanStatistics(LABELS), [["O", "O"], []], [["O", "O"], []])
    assert found == pytest.approx(dict.fromkeys(found, 0.0) | {"loss": 1.0, "accuracy": 1.0})


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nervaluate", None)
    with pytest.raises(ModuleNotFoundError, match=r"constraints\.txt '\.\[tags\]'"):
        update(SpanStatistics(LABELS), [["O"]], [["O"]])
