"""Any number of labels as target: reading, training, metrics, predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch

import seqlearn as sl
from seqlearn.cli import main
from seqlearn.data import LabelledText, MultiLabel
from seqlearn.metrics import MultiLabelStatistics
from seqlearn.testing import check_module

ROWS = [
    ("fast and cheap", ["cheap", "fast"]),
    ("fast", ["fast"]),
    ("nothing", []),
    ("cheap", ["cheap"]),
    ("cheap and nothing", ["cheap"]),
    ("fast and nothing", ["fast"]),
]
LABELS = ("cheap", "fast")
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*number of training batches"
)


def data(**options: Any) -> LabelledText:
    return LabelledText(ROWS, ROWS, label_delimiter=",", **options)


@pytest.mark.parametrize("form", ["tuples", "frame", "csv", "jsonl", "lines"])
def test_labels_are_read_from_every_table(form: str, tmp_path: Path) -> None:
    given: Any = ROWS
    columns: Any = None
    joined = [(text, ", ".join(labels)) for text, labels in ROWS]
    expected = list(ROWS)
    if form == "frame":
        given = pd.DataFrame(ROWS, columns=["text", "label"])
    elif form == "csv":
        given, columns = tmp_path / "a.csv", ("text", "label")
        cells = "".join(f'{text},"{labels}"\n' for text, labels in joined)
        given.write_text(f"text,label\n{cells}", encoding="utf-8")
    elif form == "jsonl":
        given, columns = tmp_path / "a.jsonl", ("text", "label")
        objects = [json.dumps({"text": text, "label": labels}) for text, labels in ROWS]
        given.write_text("\n".join(objects), encoding="utf-8")
    elif form == "lines":
        given = tmp_path / "a.txt"
        expected = [row for row in ROWS if row[1]]
        lines = [f"{','.join(labels)} {text}\n" for text, labels in expected]
        given.write_text("".join(lines), encoding="utf-8")
    read = LabelledText(given, columns=columns, label_delimiter=",")
    assert list(read.examples("train")) == expected
    assert read.spec.target == sl.MultiLabelSpec(LABELS)
    batch = read.dataset("train")[list(range(len(expected)))]
    assert read.spec.target.decode_labels(batch.target) == [labels for _, labels in expected]


def test_weights_and_labels_of_a_model() -> None:
    more = [*ROWS, ("slow", ["slow", "cheap"])]
    balanced = LabelledText(more, label_delimiter=",", class_weights="balanced")
    assert balanced.spec.target.weights == pytest.approx((3 / 4, 4 / 3, 6.0))
    given = data(class_weights={"fast": 2.0, "cheap": 1.0})
    assert given.spec.target.weights == (1.0, 2.0)
    other = data()
    other.use_spec(balanced.spec, source=False)
    assert other.spec.target.labels == ("cheap", "fast", "slow")
    assert MultiLabel.from_spec(balanced.spec.target).labels == ("cheap", "fast", "slow")
    target = balanced.spec.target
    hidden, head = torch.randn(2, 4), torch.nn.Linear(4, 3)
    labels = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    p = head(hidden).sigmoid()
    positive, negative = -labels * p.log(), -(1 - labels) * (1 - p).log()
    found = target.compute_loss(hidden, labels, head)
    expected = (positive * torch.tensor(target.weights) + negative).sum()
    torch.testing.assert_close(found.loss, expected)
    torch.testing.assert_close(found.nll, (positive + negative).detach())


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([("a", ["x", "x"]), ("b", ["y"])], {}, "train dataset, row 0: target: expected different"),
        ([("a", ["x"]), ("b", 3)], {}, "row 1: expected labels, as a list or with ','"),
        ([("a", ["x"]), ("b", [""])], {}, "row 1: expected a label, got an empty one"),
        ([("a", ["x"]), ("b", ["x"])], {}, "two or more distinct labels"),
        ([("a", ["x", "y"]), ("b", ["x"])], {"class_weights": "balanced"}, "cannot be balanced"),
        (ROWS, {"class_weights": {"cheap": 1.0}}, "weights: expected one for each label"),
        (ROWS, {"val": [("a", ["z"])]}, r"the label 'z' is not one of \['cheap', 'fast'\]"),
    ],
)
def test_bad_labels_are_named(rows: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelledText(rows, label_delimiter=",", **options).spec  # noqa: B018


def test_a_list_without_a_delimiter_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match=r"row 0: .* got list .*label_delimiter=','\) takes seve"):
        LabelledText([("a", ["x", "y"]), ("b", ["y"])]).spec  # noqa: B018


def test_a_model_learns_predicts_and_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = data(batch_tokens=100)
    recipe = sl.Recipe(lr=3e-2, warmup_steps=1, schedule="constant")
    model = sl.GRU(source.spec, d_model=16, num_layers=1, dropout=0.0, recipe=recipe)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"accelerator": "cpu", "enable_checkpointing": False}
    trainer = L.Trainer(max_epochs=60, check_val_every_n_epoch=60, **quiet)
    trainer.fit(model, source)
    figures = trainer.callback_metrics
    assert {"val/f1", "val/f1/cheap", "val/accuracy"} <= set(figures)
    assert figures["val/exact_match"] == 1
    texts = [text for text, _ in ROWS]
    labels, probabilities = model.classify(texts)
    assert labels == model.predict(texts) == [each for _, each in ROWS]
    assert ((probabilities > 0.5).sum(1) == torch.tensor([len(each) for each in labels])).all()
    model.save_pretrained(tmp_path / "model")
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    words = ["classify", str(tmp_path / "model"), str(tmp_path / "in.txt"), "--device", "cpu"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.split("\n")[:-1] == ["\t".join(each) for each in labels]
    assert main([*words, "--output", "json", "--probabilities"]) == 0
    first = json.loads(capsys.readouterr().out.split("\n")[0])
    assert first["labels"] == ["cheap", "fast"]
    assert first["probabilities"]["fast"] == pytest.approx(probabilities[0, 1].item(), abs=1e-5)


def test_metrics_add_up_over_batches() -> None:
    labels = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    predicted = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]]).bool()
    metric = MultiLabelStatistics(("a", "b", "c"))
    for rows in (slice(0, 1), slice(1, 4)):
        right = predicted[rows] == (labels[rows] > 0)
        mask = torch.ones(len(right), 1).bool()
        metric.update(torch.ones_like(labels[rows]), right, mask, labels[rows], predicted[rows])
    found = {name: value.item() for name, value in metric.compute().items()}
    expected = {"loss": 1.0, "accuracy": 10 / 12, "exact_match": 0.5, "f1/a": 2 / 3, "f1/b": 0.8}
    expected |= {"f1/c": 0.0, "f1": (2 / 3 + 0.8) / 2}
    assert found == pytest.approx(expected)


def test_the_laws_hold_with_several_labels() -> None:
    spec = sl.SequenceSpec(sl.TextSpec(9, 8), sl.MultiLabelSpec(("a", "b", "c")))
    laws = ["padding", "gradients", "loss additivity", "checkpoint round trip"]
    check_module(SmallGRU, tasks={"multi-label": spec}, laws=laws, examples=2)


class SmallGRU(sl.GRU):
    """Small."""

    def __init__(self, spec: sl.SequenceSpec, **base: Any) -> None:
        super().__init__(spec, d_model=8, num_layers=1, **base)
