"""`predict` with a checkpoint: inputs of every kind, in order, one line out for each."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seqlearn as sl
from seqlearn.cli import answers, main

TEXTS = ["one two", "", "two", "two one two"]
SERIES = [[[0.0, 1.0], [2.0, 3.0]], [[1.0, 1.0]], [[5.0, 2.0], [3.0, 1.0], [0.5, 0.0]]]
VECTORS = [[0.0, 1.0], [2.5, -3.0], [1.0, 1.0]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model with random weights for each kind of source, saved as a folder."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQLEARN_CACHE", str(folder / "cache"))
        words = sl.data.TextPairs(
            [("one two", "ein"), ("two", "zwei")], source=sl.data.Text("word")
        )
        text = words.spec.source
    labels = sl.ClassesSpec(("down", "up"))
    sides = {
        "text": (text, sl.VectorSpec(2)),
        "ids": (sl.TextSpec(9, 4), sl.TextSpec(9, 4)),
        "vector": (sl.VectorSpec(2), sl.TextSpec(9, 4)),
        "series": (sl.SeriesSpec(2, 3), labels),
        "tags": (text, sl.TagsSpec(("B-x", "I-x", "O"))),
    }
    found: dict[str, Any] = {}
    for name, (source, target) in sides.items():
        torch.manual_seed(1)
        model = sl.GRU(sl.SequenceSpec(source, target), d_model=8, num_layers=1).eval()
        model.save_pretrained(folder / name)
        found[name] = (str(folder / name), model)
    return found


@pytest.fixture
def predict(capsys: pytest.CaptureFixture[str]) -> Any:
    """The lines that `seqlearn predict` writes."""

    def run(*words: object) -> list[str]:
        status = main(["predict", *map(str, words), "--device", "cpu"])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return captured.out.split("\n")[:-1]

    return run


def numbers(lines: list[str]) -> Any:
    return np.array([[float(number) for number in line.split()] for line in lines])


def write_tables(folder: Path) -> dict[str, Path]:
    """The texts of `TEXTS` as a column of each kind of table."""
    quoted = [f'"{text}",x' if " " in text else f"{text},x" for text in TEXTS]
    objects = [json.dumps({"other": 1, "words": text}) for text in TEXTS]
    files = {
        "csv": "words,other\n" + "\n".join(quoted) + "\n",
        "tsv": "other\twords\n" + "".join(f"x\t{text}\n" for text in TEXTS),
        "jsonl": "\n".join(objects) + "\n",
    }
    for suffix, content in files.items():
        (folder / f"in.{suffix}").write_text(content, encoding="utf-8")
    (folder / "in.tsv.gz").write_bytes(gzip.compress((folder / "in.tsv").read_bytes()))
    return {name: folder / f"in.{name}" for name in [*files, "tsv.gz"]}


def test_texts_of_lines_and_tables(
    models: dict[str, Any], predict: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = models["text"]
    expected = torch.stack(model.predict([text for text in TEXTS if text])).numpy()
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    lines = predict(path, tmp_path / "in.txt")
    assert lines[1] == ""
    np.testing.assert_allclose(numbers([lines[0], *lines[2:]]), expected, atol=1e-5)
    for table in write_tables(tmp_path).values():
        assert predict(path, table, "--column", "words") == lines, table
    # Another size of the batch may change the last bit.
    more = predict(path, tmp_path / "in.csv", "--column", "1")[1:]  # no header: 5 lines
    assert more[1] == ""
    np.testing.assert_allclose(numbers([more[0], *more[2:]]), expected, atol=1e-5)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"words": "two"}\n')))
    alone = predict(path, "--format", "jsonl", "--column", "words")
    np.testing.assert_allclose(numbers(alone), expected[1:2], atol=1e-5)
    said = [json.loads(line) for line in predict(path, tmp_path / "in.txt", "--output", "json")]
    assert [one["input"] for one in said] == TEXTS
    assert said.pop(TEXTS.index(""))["prediction"] is None
    np.testing.assert_allclose([one["prediction"] for one in said], expected, atol=1e-5)


def test_ids_without_a_tokenizer(models: dict[str, Any], predict: Any, tmp_path: Path) -> None:
    path, model = models["ids"]
    (tmp_path / "in.txt").write_text("4 5\n6\n", encoding="utf-8")
    (tmp_path / "in.jsonl").write_text("[4, 5]\n[6]\n", encoding="utf-8")
    options: dict[str, Any] = {"strategy": "beam", "beam_size": 2, "max_new_tokens": 3}
    expected = [" ".join(map(str, ids)) for ids in model.generate([[4, 5], [6]], **options)]
    words = ["--decoding", "beam", "--beam-size", 2, "--max-new-tokens", 3, "--batch-tokens", 1]
    assert predict(path, tmp_path / "in.txt", *words) == expected
    assert predict(path, tmp_path / "in.jsonl", *words) == expected


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_lower_precision(
    models: dict[str, Any], predict: Any, tmp_path: Path, precision: Any
) -> None:
    path, model = models["ids"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this CPU may have no instructions for it
        copied = model.for_inference(precision)
        expected = [" ".join(map(str, ids)) for ids in copied.generate([[4, 5], [6]])]
        (tmp_path / "in.txt").write_text("4 5\n6\n", encoding="utf-8")
        found = predict(path, tmp_path / "in.txt", "--precision", precision, "--device", "cpu")
    assert found == expected


def test_tags(models: dict[str, Any], predict: Any, tmp_path: Path) -> None:
    path, model = models["tags"]
    expected = model.predict([text for text in TEXTS if text])
    assert [len(tags) for tags in expected] == [2, 1, 3]
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    lines = [" ".join(tags) for tags in expected]
    assert predict(path, tmp_path / "in.txt") == [lines[0], "", *lines[1:]]
    words = "".join(json.dumps(text.split()) + "\n" for text in TEXTS if text)
    (tmp_path / "in.jsonl").write_text(words, encoding="utf-8")
    assert predict(path, tmp_path / "in.jsonl") == lines
    said = predict(path, tmp_path / "in.jsonl", "--output", "json")
    assert json.loads(said[0]) == {"input": "one two", "labels": expected[0]}
    (tmp_path / "bad.jsonl").write_text('["one"]\n["one", ""]\n', encoding="utf-8")
    assert main(["predict", path, str(tmp_path / "bad.jsonl"), "--device", "cpu"]) != 0


def test_vectors(models: dict[str, Any], predict: Any, tmp_path: Path) -> None:
    path, model = models["vector"]
    np.save(tmp_path / "in.npy", np.array(VECTORS))
    rows = "".join(f"{a},{b}\n" for a, b in VECTORS)
    (tmp_path / "in.csv").write_text(rows, encoding="utf-8")
    (tmp_path / "named.tsv").write_text(
        "b\tname\ta\n" + "".join(f"{b}\tx\t{a}\n" for a, b in VECTORS), encoding="utf-8"
    )
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, VECTORS)), encoding="utf-8")
    expected = [" ".join(map(str, ids)) for ids in model.generate(VECTORS, max_new_tokens=3)]
    for name in ("in.npy", "in.csv", "in.jsonl"):
        assert predict(path, tmp_path / name, "--max-new-tokens", 3) == expected, name
    columns = ["--column", "a", "--column", "b"]
    assert predict(path, tmp_path / "named.tsv", *columns, "--max-new-tokens", 3) == expected


def test_series(models: dict[str, Any], predict: Any, tmp_path: Path) -> None:
    path, model = models["series"]
    np.savez(tmp_path / "in.npz", *map(np.array, SERIES))
    rows = [(n, t, *vector) for n, series in enumerate(SERIES) for t, vector in enumerate(series)]
    table = "id,time,x,y\n" + "".join(f"{n},{t},{x},{y}\n" for n, t, x, y in rows)
    (tmp_path / "in.csv").write_text(table, encoding="utf-8")
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, SERIES)), encoding="utf-8")
    expected = model.classify(SERIES)[0]
    for name in ("in.npz", "in.csv", "in.jsonl"):
        assert predict(path, tmp_path / name) == expected, name
    cells = predict(path, tmp_path / "in.npz", "--probabilities")[0].split("\t")
    assert sorted(cells[1::2]) == ["down", "up"]
    named = ["--column", "x", "--column", "y", "--time-column", "time"]
    assert predict(path, tmp_path / "in.csv", *named) == expected


@pytest.mark.parametrize(
    ("model", "name", "content", "options", "message"),
    [
        ("text", "a.csv", "words\none\n", [], "a.csv: name the column of the texts with --column"),
        ("text", "a.csv", "words\none\n", ["--column", "no"], "expected a column 'no', got"),
        ("text", "a.csv", 'words\n"one\n', ["--column", "1"], "a.csv, line 2: expected a record"),
        ("text", "a.jsonl", '{"w": 1}\n', [], "a.jsonl, line 1: expected a value"),
        ("text", "a.jsonl", '"one"\n{\n', [], "a.jsonl, line 2: expected JSON"),
        ("text", "a.jsonl", "1\n", [], "a.jsonl, line 1: expected a text or a list of ids"),
        ("text", "a.txt", "one\n", ["--column", "x"], "a.txt: --column is for tables"),
        ("text", "a.npy", "", [], "a.npy: expected texts as lines, csv, tsv, jsonl, got npy"),
        ("text", "a.txt", "one\n", ["--beam-size", "3"], "--beam-size: options of generated"),
        ("text", "a.txt", "one\n", ["--scores"], "--scores and --probabilities are for texts"),
        ("text", "a.txt", "one\n", ["--batch-tokens", "0"], "--batch-tokens: expected at least 1"),
        ("ids", "a.txt", "4\n4 x\n", [], "a.txt, line 2: expected ids separated by spaces"),
        ("ids", "a.txt", "4\n99\n", [], "a.txt, line 2: expected ids from 0 to 8, got 99"),
        ("vector", "a.csv", "1,2\n1,x\n", [], "a.csv, line 2: expected numbers"),
        ("vector", "a.csv", "1,2\n1\n", [], "a.csv, line 2: expected 2 cells, as on line 1"),
        ("vector", "a.csv", "1,2\n1,nan\n", [], "a.csv, line 2: expected finite numbers"),
        ("vector", "a.csv", "1,2,3\n", [], "a.csv, line 1: expected 2 numbers"),
        ("vector", "a.npy", "x", [], "a.npy: expected numbers in NumPy's format"),
        ("series", "a.jsonl", "[[1, 2, 3]]\n", [], "a.jsonl, line 1: expected a series of vectors"),
        ("series", "a.csv", "id,time,x,y\na,1,0,1\na,0,0,1\n", [], "a.csv, line 3: expected incr"),
        ("series", "a.csv", "id,x,y\na,1,0\n", [], "name the columns with --id-column, "),
        ("series", "a.csv", "id,time,x,y,l\na,1,0,1,up\n", [], "columns of numbers with --column"),
        ("series", "a.csv", "id,time,x,y\na,1,0,\n", [], "train the model on data with missing=Tr"),
        ("text", "a.txt", "one\n", ["--id-column", "x"], "are for tables of series (csv, tsv, pa"),
        ("series", "a.jsonl", "[[1, 2]]\n", ["--time-column", ""], "read as series from jsonl; l"),
        ("series", "a.txt", "1\n", ["--format", "csv"], "series as csv are read from a file that"),
    ],
)  # fmt: skip
def test_bad_input_is_named(
    model: str,
    name: str,
    content: str,
    options: list[str],
    message: str,
    models: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(content, encoding="utf-8")
    assert main(["predict", models[model][0], name, *options]) == 1
    said = capsys.readouterr().err
    *warnings, error = said.splitlines()
    assert message in error
    assert all("symbols outside the model's vocabulary" in line for line in warnings)


def test_an_input_that_the_model_cannot_take_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is valid by itself, but longer than the window of the model."""
    spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.VectorSpec(1))
    sl.FeedForward(spec, d_model=8, window=4).save_pretrained(tmp_path / "model")
    lines = ["4 5"] * 300
    lines[280] = "4 5 6 7 8"
    (tmp_path / "in.txt").write_text("\n".join(lines), encoding="utf-8")
    assert main(["predict", str(tmp_path / "model"), str(tmp_path / "in.txt")]) == 1
    captured = capsys.readouterr()
    assert "in.txt, line 281: " in captured.err
    assert captured.out.count("\n") == 280  # all lines before it


def write_lines(path: Path, count: int, bad: int | None = None) -> list[str]:
    """Lines of ids of unequal lengths, of 125 kinds."""
    lines = [
        " ".join(str(4 + digit) for digit in (n % 5, n // 5 % 5, n // 25 % 5, *([4] * (n % 3))))
        for n in range(count)
    ]
    if bad is not None:
        lines[bad - 1] = "4 99"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return lines


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, float]]:
    """A model, and its answer to each kind of line, which all differ."""
    spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.VectorSpec(1))
    torch.manual_seed(0)
    model = sl.RNN(spec, d_model=4, num_layers=1).eval()
    folder = tmp_path_factory.mktemp("reader")
    model.save_pretrained(folder)
    kinds = sorted(set(write_lines(folder / "kinds.txt", 375)))
    values = model.predict([list(map(int, line.split())) for line in kinds])
    answers = {line: value.item() for line, value in zip(kinds, values, strict=True)}
    assert len(set(answers.values())) == len(kinds)
    return str(folder), answers


@pytest.mark.parametrize("count", [1500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_lines_keep_their_order_and_a_bad_one_is_named(
    reader: tuple[str, dict[str, float]],
    predict: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    count: int,
) -> None:
    path, answers = reader
    lines = write_lines(tmp_path / "in.txt", count)
    found = predict(path, tmp_path / "in.txt", "--batch-tokens", 512)
    np.testing.assert_allclose(numbers(found)[:, 0], [answers[line] for line in lines], atol=1e-5)
    write_lines(tmp_path / "bad.txt", count, bad=count // 2)
    assert main(["predict", path, str(tmp_path / "bad.txt"), "--device", "cpu"]) == 1
    captured = capsys.readouterr()
    assert f"bad.txt, line {count // 2}: expected ids from 0 to 8, got 99" in captured.err
    assert captured.out.count("\n") == count // 2 - 1


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def start(*words: str) -> tuple[int, int]:
    """Run a command in a fork whose output goes to a pipe: its process and the pipe's end."""
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        return pid, reading
    status = 99
    try:
        os.close(reading)
        os.dup2(writing, 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        status = main(words)
        sys.stdout.flush()
    finally:
        os._exit(status)


@forks
def test_ctrl_c_leaves_whole_lines_in_order(
    reader: tuple[str, dict[str, float]], tmp_path: Path
) -> None:
    path, answers = reader
    lines = write_lines(tmp_path / "in.txt", 10_000)
    pid, output = start("predict", path, str(tmp_path / "in.txt"), "--device", "cpu")
    found = os.read(output, 100)  # the first lines are written
    os.kill(pid, signal.SIGINT)
    while part := os.read(output, 2**16):
        found += part
    os.close(output)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert found.endswith(b"\n")
    written = numbers(found.decode().splitlines())[:, 0]
    assert 0 < len(written) < len(lines)
    np.testing.assert_allclose(
        written, [answers[line] for line in lines[: len(written)]], atol=1e-5
    )


@forks
def test_a_broken_pipe_ends_the_command(
    reader: tuple[str, dict[str, float]], tmp_path: Path
) -> None:
    path, _ = reader
    write_lines(tmp_path / "in.txt", 10_000)
    pid, output = start("predict", path, str(tmp_path / "in.txt"), "--device", "cpu")
    os.read(output, 100)
    os.close(output)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


MEMORY = """
import resource, sys
from seqlearn.cli import main
assert main(sys.argv[1:]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs by system")
def test_memory_does_not_grow_with_the_input(
    reader: tuple[str, dict[str, float]], tmp_path: Path
) -> None:
    peaks = []
    for count in (1000, 50_000):
        write_lines(tmp_path / "in.txt", count)
        words = ["predict", reader[0], str(tmp_path / "in.txt"), "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, *words],
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        assert done.stdout.count("\n") == count
        peaks.append(int(done.stderr.split()[-1]))
    assert peaks[1] - peaks[0] < 20_000, peaks  # kilobytes


def test_a_predict_of_ones_own_is_used() -> None:
    class Own(sl.GRU):
        def predict(self, sources: Any) -> list[Any]:
            return ["mine" for _ in sources]

    model = Own(sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4)), d_model=4)
    for task, expected in (("predict", True), ("translate", False)):
        found = answers._answers(model, [[4], [5]], answers.Request("", task=task))
        assert ([one.answers for one in found] == [["mine"], ["mine"]]) is expected
