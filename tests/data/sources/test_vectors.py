from __future__ import annotations

import gzip
import inspect
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from numpy.typing import NDArray

import seqlearn as sl
from seqlearn.data.fields import Classes, Text
from seqlearn.data.module import SequenceDataModule
from seqlearn.data.sources.vectors import Vectors
from seqlearn.data.vector_field import Vector

NUMBERS = np.array([[0.5, -1, 2], [1, 2, 3], [-4.25, 0, 1e3]])
TEXTS = ["eine Hälfte", "zählen", "tausend"]
LINES = "".join(f"{text}\n" for text in TEXTS)
CSV = "0.5,-1,2\n1, 2, 3\n-4.25,0.0,1e3\n"
TASKS = ("vector-to-sequence", "sequence-to-vector")


def write(path: Path, content: str | bytes | NDArray[Any]) -> str:
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
        return str(path)
    plain = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(plain) if path.suffix == ".gz" else plain)
    return str(path)


def files(folder: Path, vectors: Any = NUMBERS, texts: str | bytes = LINES) -> tuple[str, str]:
    return write(folder / "x.npy", vectors), write(folder / "t.txt", texts)


def unchecked(*args: Any, **arguments: Any) -> Vectors:
    """Construct it without the types being checked first, as a user does."""
    data = Vectors.__new__(Vectors)
    inspect.unwrap(Vectors.__init__)(data, *args, **arguments)
    return data


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ["npy", "fortran", "csv", "csv.gz", "memory", "int"])
def test_what_goes_in_comes_out(kind: str, task: Any, tmp_path: Path) -> None:
    numbers = NUMBERS.astype(np.int64) if kind == "int" else NUMBERS
    vectors: Any = numbers
    if kind in ("npy", "fortran"):
        ordered = np.asfortranarray(NUMBERS) if kind == "fortran" else NUMBERS
        vectors = write(tmp_path / "x.npy", ordered)
    elif "csv" in kind:
        vectors = write(tmp_path / f"x.{kind}", CSV.replace("\n", "\r\n"))
    texts = TEXTS if kind == "memory" else write(tmp_path / "t.txt.gz", LINES)
    data = Vectors((vectors, texts), test=(vectors, texts), task=task)
    assert data.spec.task == task
    forward = task == "vector-to-sequence"
    side = data.spec.source if forward else data.spec.target
    assert (side.size, data.source if forward else data.target) == (3, Vector(3))
    assert [len(data.dataset(split)) for split in ("train", "val", "test")] == [3, 0, 3]
    batch = data.dataset("test")[[2, 0]]
    found = batch.source if forward else batch.target
    torch.testing.assert_close(found, torch.tensor(numbers[[2, 0]], dtype=torch.float32))
    ids = batch.target if forward else batch.source
    text = data.spec.target if forward else data.spec.source
    assert text.decode(ids.tolist()) == [TEXTS[2], TEXTS[0]]


def test_a_npy_file_is_read_as_it_is_needed(tmp_path: Path) -> None:
    vector, _ = next(Vectors(files(tmp_path)).examples("train"))
    assert isinstance(vector, np.memmap)


@pytest.mark.parametrize("task", TASKS)
def test_where_an_example_stands(task: Any, tmp_path: Path) -> None:
    x, t = files(tmp_path)
    c = write(tmp_path / "x.csv", CSV)
    data = Vectors((x, t), (c, TEXTS), (NUMBERS, TEXTS), task)
    assert data.describe_location("train", 1) == f"{x}, row 1 (from 0), with {t}, line 2"
    assert data.describe_location("val", 1) == f"{c}, line 2, with val texts, row 1 (from 0)"
    assert data.describe_location("test", 1).startswith(
        "test vectors, row 1 (from 0), with test texts, row 1"
    )


def test_the_cache_follows_the_content(tmp_path: Path) -> None:
    def key(vectors: Any = NUMBERS, texts: Any = TEXTS, **more: Any) -> str:
        return Vectors((vectors, texts), **more).fingerprint()

    x, t = files(tmp_path)
    keys = [key(), key(x), key(texts=t), key(task=TASKS[1]), key(val=(x, t)), key(test=(x, t))]
    keys += [key(NUMBERS + 1), key(texts=TEXTS[::-1]), key(encoding="latin-1")]
    keys += [key(NUMBERS.astype(np.float32)), key(NUMBERS.view(np.int64))]
    files(tmp_path, NUMBERS + 1, LINES + "mehr")
    keys += [key(x), key(texts=t)]
    assert len(set(keys)) == len(keys)
    assert key() == key(NUMBERS.copy(), list(TEXTS)) == keys[0]


@pytest.mark.parametrize(
    ("vectors", "texts", "message"),
    [
        (NUMBERS[:2], LINES, r"x\.npy has 2 rows and .*t\.txt has 3; vector n must belong"),
        (NUMBERS, "a\nb\n", r"x\.npy has 3 rows and .*t\.txt has 2;"),
        (NUMBERS, "a\nb\nc\nd\ne\n", r"x\.npy has 3 rows and .*t\.txt has 5;"),
        (NUMBERS, "a\n \nc\n", r"t\.txt, line 2: expected a text, got an empty one"),
        (NUMBERS, "", r"t\.txt: expected lines of text, got an empty file"),
        (NUMBERS, b"a\nb\n\xc4\n", r"t\.txt, line 3, byte 1: .*'latin-1'"),
        (NUMBERS * [1, np.nan, 1], LINES, r"x\.npy, row 0 .*: expected finite .* nan at pos.* 2"),
        (NUMBERS - [[0], [0], [np.inf]], LINES, r"x\.npy, row 2 .*: expected finite .* -inf at"),
        (NUMBERS * -1e38, LINES, r"x\.npy, row 2 .*: expected finite numbers, got inf at pos"),
        (NUMBERS[0], LINES, r"x\.npy: expected an array of shape \(examples, size\), got \(3,\)"),
        (NUMBERS[None], LINES, r"x\.npy: expected an array of shape .* got \(1, 3, 3\)"),
        (NUMBERS[:, :0], LINES, r"x\.npy: expected an array of shape .* got \(3, 0\)"),
        (NUMBERS[:0], LINES, r"x\.npy has 0 rows and .*t\.txt has 3"),
        (NUMBERS.astype(str), LINES, r"x\.npy: expected real numbers, got an array of <U"),
        (NUMBERS.astype(complex), LINES, r"x\.npy: expected real numbers, got .* complex128"),
        (NUMBERS.astype(object), LINES, r"x\.npy: expected numbers .* Python objects.*numpy\.save"),
        (b"0.5,1\n", LINES, r"x\.npy: expected numbers in NumPy's format, .* magic string"),
        (b"", LINES, r"x\.npy: expected numbers in NumPy's format, .* EOF"),
    ],
)
@pytest.mark.parametrize("task", TASKS)
def test_bad_arrays_and_texts(
    vectors: Any, texts: Any, message: str, task: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Vectors(files(tmp_path, vectors, texts), task=task).setup("fit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2,3\n1,2\n", r"x\.csv, line 2: expected 3 numbers, as on line 1, got 2"),
        ("1,2\n1,2,3\n", r"x\.csv, line 2: expected 2 numbers, as on line 1, got 3"),
        ("1,2\n\n1,2\n", r"x\.csv, line 2: expected 2 numbers, as on line 1, got 0"),
        ("a,b\n1,2\n", r"line 1, column 1: expected a number, got 'a'; .* without a header"),
        ("1,2\n3,\n", r"line 2, column 2: expected a number, got ''"),
        ("1,2\n3,nan\n", r"x\.csv, line 2, with .*: expected finite numbers, got nan"),
        ("1,2\n3,1e39\n", r"x\.csv, line 2, with .*: expected finite numbers, got inf"),
        ("1;2\n3;4\n", r"line 1, column 1: expected a number, got '1;2'"),
        ("1,2\n", r"x\.csv has 1 rows and train texts has 3"),
        ("", r"x\.csv: expected lines of text, got an empty file"),
    ],
)
def test_bad_csv_files(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Vectors((write(tmp_path / "x.csv", content), TEXTS)).setup("fit")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((NUMBERS, TEXTS[:2]), "train vectors has 3 rows and train texts has 2"),
        (
            (NUMBERS, ["a", "", "b"]),
            r"train texts, row 1 \(from 0\): expected a text, got an",
        ),
        ((NUMBERS + np.inf, TEXTS), r"train vectors, row 0 \(from 0\), with .*: expected finite"),
        (([[1, 2], [3]], TEXTS), "train vectors: expected an array of shape .* inhomogeneous"),
        ((TEXTS, NUMBERS), "train vectors: expected real numbers, got an array of <U"),
        (("t.txt", "x.npy"), r"train: expected vectors in a file that ends in .* got t\.txt;"),
    ],
)
def test_bad_values_in_memory(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unchecked(given).setup("fit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": (NUMBERS, np.arange(3))}, "train texts: expected a file of texts.* got int;"),
        ({"train": (NUMBERS, [0, 1, 0])}, "train texts: expected a file of texts.* got int"),
        ({"train": (NUMBERS, NUMBERS)}, "train texts: expected a file of texts.* got ndarray"),
        ({"train": (NUMBERS, "y.npy")}, r"y\.npy: expected a file of texts.* got a .npy file"),
        ({"train": (NUMBERS, None)}, "train texts: expected a file of texts.* got NoneType"),
        ({"text": Classes()}, r"expected text=Text\(\.\.\.\), got Classes\(\)"),
        ({"task": "vector-to-vector"}, "expected task to be one of vector-to-sequence, sequen"),
    ],
)
def test_a_vector_with_a_class_is_refused_at_once(arguments: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        unchecked(**{"train": (NUMBERS, TEXTS), **arguments})
    assert "a text with a class (LabelledText)" in str(caught.value)


@pytest.mark.parametrize("given", ["x.npy", ("x.npy",), (1, 2, 3), None])
def test_what_is_no_pair(given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"train: expected a pair \(vectors, texts\), or a table .*, got"
    ):
        unchecked(given)


def test_sizes_that_differ_between_splits(tmp_path: Path) -> None:
    path, _ = files(tmp_path, NUMBERS[:, :2])
    message = r"train vectors has 3 numbers in each and .*x\.npy has 2"
    with pytest.raises(ValueError, match=message):
        Vectors((NUMBERS, TEXTS), test=(path, TEXTS))


@pytest.mark.parametrize("name", ["none.npy", "none.csv"])
def test_missing_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"val: expected a file at .*{name}"):
        Vectors((NUMBERS, TEXTS), (tmp_path / name, TEXTS))
    with pytest.raises(FileNotFoundError, match=r"val: expected a file at .*none\.txt"):
        Vectors((NUMBERS, TEXTS), (NUMBERS, tmp_path / "none.txt")).setup("fit")


@pytest.mark.parametrize("task", TASKS)
def test_a_configuration_file_can_say_it(task: str, tmp_path: Path) -> None:
    x, t = files(tmp_path)
    text = f"{{train: [{x}, {t}], val: [{x}, {t}], task: {task}, text: {{tokenizer: word}}}}"
    parser = ArgumentParser()
    parser.add_subclass_arguments(SequenceDataModule, "data")
    given = {
        "data": {
            "class_path": "seqlearn.data.sources.vectors.Vectors",
            "init_args": yaml.safe_load(text),
        }
    }
    configuration = parser.parse_object(given)
    again = parser.parse_object(yaml.safe_load(parser.dump(configuration)))
    for one in (configuration, again):
        assert one.data.init_args.train == (x, t)
        data = parser.instantiate(one).data
        assert data.spec.task == task
        assert Text("word") in (data.source, data.target)


@pytest.mark.parametrize("task", TASKS)
def test_a_model_is_fitted(task: Any) -> None:
    vectors = np.random.default_rng(0).normal(size=(24, 5))
    texts = [f"{'up' if first > 0 else 'down'} {row}" for row, first in enumerate(vectors[:, 0])]
    data = Vectors((vectors, texts), (vectors[:6], texts[:6]), task=task)
    model = sl.Transformer(data.spec, d_model=8, num_layers=1, num_heads=2)
    trainer = L.Trainer(fast_dev_run=2, accelerator="cpu", logger=False)
    trainer.fit(model, data)
    assert {"train/loss", "val/loss"} <= set(trainer.callback_metrics)
