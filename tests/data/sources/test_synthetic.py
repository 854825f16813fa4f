from __future__ import annotations

import inspect
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import lightning as L
import pytest

import seqlearn as sl
from seqlearn.batch import END, START
from seqlearn.data.sources.synthetic import Synthetic

SPLITS = ("train", "val", "test")
OPERATIONS = ("copy", "reverse", "sort", "add")
TASKS = ("sequence-to-sequence", "sequence-to-vector")
SMALL = {"length": 4, "train_examples": 200, "held_out_examples": 20}


def answer(operation: str, source: str) -> str:
    """The answer, by another way than the source's own."""
    if operation == "add":
        return str(sum(int(number) for number in source.split("+")))
    numbers = [int(symbol) for symbol in source.split(" ")]
    if operation == "reverse":
        numbers.reverse()
    if operation == "sort":
        counts = Counter(numbers)
        numbers = [number for number in range(max(numbers) + 1) for _ in range(counts[number])]
    return " ".join(map(str, numbers))


def all_pairs(data: Synthetic) -> list[tuple[str, str]]:
    return [pair for split in SPLITS for pair in data.examples(split)]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_targets_are_right(operation: str):
    sizes = {"train_examples": 2_000, "held_out_examples": 300}
    whole, last = (Synthetic(operation, task=task, **sizes) for task in TASKS)
    for split, count in zip(SPLITS, (2_000, 300, 300), strict=True):
        pairs, labels = list(whole.examples(split)), list(last.examples(split))
        assert len(pairs) == len(labels) == count
        for (source, target), (same, label) in zip(pairs, labels, strict=True):
            assert source == same
            assert target == answer(operation, source)
            assert label == (target[-1] if operation == "add" else target.split(" ")[-1])


def test_symbols_of_several_digits_are_sorted_as_numbers():
    data = Synthetic("sort", 5, vocabulary=200)
    for source, target in data.examples("test"):
        assert target == answer("sort", source)
    assert any(target.split() != sorted(target.split()) for _, target in data.examples("test"))
    assert {symbol for source, _ in all_pairs(data) for symbol in source.split()} == {
        str(number) for number in range(200)
    }


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("length", [2, 3, 10])
def test_no_source_occurs_twice(operation: str, length: int):
    data = Synthetic(operation, length, train_examples=2_000, held_out_examples=300)
    sources = [source for source, _ in all_pairs(data)]
    assert len(set(sources)) == len(sources) > 100


def test_lengths_are_all_there_and_about_equally_often():
    data = Synthetic("copy", 6, min_length=3, vocabulary=30)
    counts = Counter(len(source.split()) for source, _ in data.examples("train"))
    assert sorted(counts) == [3, 4, 5, 6]
    assert min(counts.values()) > 2_300
    fixed = Synthetic("reverse", 7, min_length=7)
    assert {len(source.split()) for source, _ in all_pairs(fixed)} == {7}


def test_numbers_of_digits_are_drawn_for_both_numbers():
    data = Synthetic("add", 3, train_examples=5_000)
    numbers = [source.split("+") for source, _ in data.examples("train")]
    assert all(number == str(int(number)) for pair in numbers for number in pair)
    counts = Counter(tuple(map(len, pair)) for pair in numbers)
    assert len(counts) == 9
    assert counts[1, 1] == 80
    assert counts[3, 3] > 500
    fixed = Synthetic("add", 3, min_length=3)
    assert {len(number) for source, _ in all_pairs(fixed) for number in source.split("+")} == {3}


def test_few_possible_examples_make_smaller_splits():
    data = Synthetic("copy", 4, vocabulary=3)
    sizes = [len(list(data.examples(split))) for split in SPLITS]
    # 3, 9, 27 and 81 sequences; a tenth of each, rounded down, is held out twice.
    assert sizes == [120 - 2 * 10, 10, 10]
    data = Synthetic("add", 1)
    assert [len(list(data.examples(split))) for split in SPLITS] == [80, 10, 10]


def test_held_out_classes_occur_in_training():
    """The largest of 20 symbols of 10 is hardly ever below 5."""
    for seed in range(20):
        data = Synthetic(
            "sort", 20, min_length=20, task=TASKS[1], train_examples=20,
            held_out_examples=300, seed=seed,
        )  # fmt: skip
        known = {label for _, label in data.examples("train")}
        held = [label for split in SPLITS[1:] for _, label in data.examples(split)]
        assert set(held) <= known
        if len(held) < 600:
            return
    pytest.fail("no seed made a class that training lacks: the test says nothing")


def test_long_sequences_are_made():
    for operation in OPERATIONS:
        data = Synthetic(operation, 400, min_length=400, train_examples=20, held_out_examples=5)
        for source, target in data.examples("test"):
            assert target == answer(operation, source)
            assert len(source) >= 799


def made(operation: str, task: str) -> str:
    data = Synthetic(operation, 4, task=task, train_examples=200, held_out_examples=20, seed=5)
    return repr([data.fingerprint(), *(list(data.examples(split)) for split in SPLITS)])


def test_another_process_makes_the_same_examples():
    """Nothing depends on how Python hashes strings in this process."""
    code = f"""
from seqlearn.data.sources.synthetic import Synthetic
SPLITS = {SPLITS!r}
{inspect.getsource(made)}
for operation in {OPERATIONS!r}:
    for task in {TASKS!r}:
        print(made(operation, task))
"""
    root = str(Path(__file__).resolve().parents[3])
    said = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": root},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    assert said.splitlines() == [
        made(operation, task) for operation in OPERATIONS for task in TASKS
    ]


def test_fingerprint_tells_apart_what_differs():
    different = [
        Synthetic(),
        Synthetic("copy"),
        Synthetic(length=11),
        Synthetic(min_length=2),
        Synthetic(vocabulary=11),
        Synthetic(task=TASKS[1]),
        Synthetic(train_examples=500),
        Synthetic(held_out_examples=500),
        Synthetic(seed=1),
    ]
    assert len({data.fingerprint() for data in different}) == len(different)
    assert Synthetic(batch_tokens=100).fingerprint() == Synthetic(batch_tokens=200).fingerprint()
    drawn = [list(Synthetic(seed=seed, **SMALL).examples("train")) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_batch_of_texts(operation: str):
    data = Synthetic(operation, **SMALL)
    assert data.spec.task == "sequence-to-sequence"
    assert data.spec.joint_vocabulary
    assert data.spec.source.vocab_size == 4 + 10 + (operation == "add")
    pairs = set(data.examples("train"))
    for batch in data.train_dataloader():
        assert batch.source.shape == (batch.size, batch.source_lengths.max())
        assert batch.target.shape == (batch.size, batch.target_lengths.max())
        assert set(batch.target[:, 0].tolist()) == {START}
        assert (batch.target == END).sum(1).tolist() == [1] * batch.size
        sources = data.spec.source.decode(batch.source.tolist())
        targets = data.spec.target.decode(batch.target.tolist())
        assert set(zip(sources, targets, strict=True)) <= pairs


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_batch_of_texts_and_classes(operation: str):
    data = Synthetic(operation, task=TASKS[1], **SMALL)
    assert data.spec.task == "sequence-to-vector"
    pairs = set(data.examples("train"))
    for batch in data.train_dataloader():
        assert batch.source.shape == (batch.size, batch.source_lengths.max())
        assert batch.target.shape == (batch.size,)
        assert batch.target_lengths is None
        sources = data.spec.source.decode(batch.source.tolist())
        labels = [data.spec.target.labels[one] for one in batch.target]
        assert set(zip(sources, labels, strict=True)) <= pairs


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("operation", ["reverse", "add"])
def test_trains(operation: str, task: str):
    data = Synthetic(operation, task=task, **SMALL)
    model = sl.Transformer(data.spec, d_model=8, num_layers=1, num_heads=2)
    before = {name: value.clone() for name, value in model.named_parameters()}
    L.Trainer(fast_dev_run=2, accelerator="cpu", logger=False).fit(model, data)
    assert any(not value.equal(before[name]) for name, value in model.named_parameters())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"length": 0}, "1 <= min_length <= length, got min_length=1, length=0"),
        ({"min_length": 0}, "1 <= min_length <= length, got min_length=0, length=10"),
        ({"length": 3, "min_length": 4}, "got min_length=4, length=3"),
        ({"vocabulary": 1}, "vocabulary of at least 2 symbols, got 1"),
        ({"operation": "add", "vocabulary": 16}, "'add' is decimal, got vocabulary=16; remove it"),
        ({"train_examples": 0}, "train_examples of at least 1, got 0"),
        ({"held_out_examples": 0}, "held_out_examples of at least 1, got 0"),
        ({"length": 3, "vocabulary": 2}, "make only 8 sequences of the maximum length"),
        ({"batch_tokens": 0}, "batch_tokens of at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(arguments: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said) as caught:
        Synthetic(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"length": 1, "vocabulary": 50}, "only 40 of the 50 symbols, expected all"),
        ({"vocabulary": 5_000, "train_examples": 100}, "100 training examples have only"),
        ({"operation": "add", "length": 1, "train_examples": 1}, "of the 10 symbols"),
    ],
)
def test_symbols_that_training_lacks_are_refused(arguments: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        _ = Synthetic(**arguments).spec


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"operation": "double"}, f"{', '.join(OPERATIONS)}, got 'double'"),
        ({"task": "vector-to-sequence"}, f"{', '.join(TASKS)}, got 'vector-to-sequence'"),
    ],
)
def test_wrong_names_are_refused_with_those_that_exist(arguments: dict[str, str], said: str):
    # Unwrapped: the run-time check of annotations, which only tests have, would speak first.
    with pytest.raises(ValueError, match=said):
        inspect.unwrap(Synthetic.__init__)(Synthetic.__new__(Synthetic), **arguments)
