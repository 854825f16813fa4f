"""`translate`, `classify` and `generate`: one line out for each line in, as text and as JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

import seqlearn as sl
from seqlearn.cli import inputs, main

LINES = ["one two", "", "two", "two one two"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model with random weights for each command, saved as a folder."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "book.txt").write_text("one two two one\ntwo one\n" * 20, encoding="utf-8")
    words = sl.data.Text("word")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQLEARN_CACHE", str(folder / "cache"))
        data = {
            "translate": sl.data.TextPairs(
                [("one two", "eins zwei"), ("two", "zwei")], source=words
            ),
            "classify": sl.data.LabelledText(
                [("one", "odd"), ("two", "even"), ("two two", "both")]
            ),
            "generate": sl.data.PlainText(folder / "book.txt", text=words, window=4),
        }
        specs = {name: module.spec for name, module in data.items()}
    specs["vector"] = sl.SequenceSpec(specs["translate"].source, sl.VectorSpec(2))
    found: dict[str, Any] = {}
    for name, spec in specs.items():
        torch.manual_seed(1)
        model = sl.GRU(spec, d_model=8, num_layers=1).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        model.save_pretrained(folder / name)
        found[name] = (str(folder / name), model)
    return found


@pytest.fixture
def answers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """The lines that a command writes for `LINES`."""
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in LINES), encoding="utf-8")

    def run(command: str, path: str, *options: str) -> list[str]:
        argv = [command, path, str(tmp_path / "in.txt"), "--accelerator", "cpu", *options]
        status = main(argv)
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return captured.out.split("\n")[:-1]

    return run


def test_classify(models: dict[str, Any], answers: Any) -> None:
    path, model = models["classify"]
    given = [line for line in LINES if line]
    labels, probabilities = model.classify(given)
    assert answers("classify", path) == [labels[0], "", *labels[1:]]
    first = answers("classify", path, "--probabilities")[0].split("\t")
    assert first[1] == labels[0]
    assert sorted(first[1::2]) == ["both", "even", "odd"]
    assert [float(p) for p in first[::2]] == pytest.approx(
        probabilities[0].sort(descending=True).values.tolist(), abs=1e-4
    )
    said = json.loads(answers("classify", path, "--output", "json", "--probabilities")[2])
    assert said["text"] == "two"
    assert said["label"] == labels[1]
    assert next(iter(said["probabilities"])) == labels[1]
    assert sum(said["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    plain = json.loads(answers("classify", path, "--output", "json")[0])
    assert plain == {"text": "one two", "label": labels[0]}


def test_generate_continues_prompts(models: dict[str, Any], answers: Any) -> None:
    path, model = models["generate"]
    given = [line for line in LINES if line]
    options = ["--max-new-tokens", "3"]
    expected = model.generate(prompts=given, max_new_tokens=3)
    assert answers("generate", path, *options) == [expected[0], "", *expected[1:]]
    assert expected[0].startswith("one two")
    drawn = answers(
        "generate", path, *options, "--decoding", "sample", "--num-return-sequences", "2"
    )
    assert [len(line.split("\t")) for line in drawn] == [2, 1, 2, 2]
    again = answers(
        "generate", path, *options, "--decoding", "sample", "--num-return-sequences", "2"
    )
    assert drawn == again
    sample = ["--decoding", "sample", "--num-return-sequences", "2"]
    assert drawn == answers("generate", path, *options, *sample, "--seed", "0")
    assert drawn != answers("generate", path, *options, *sample, "--seed", "1")


def test_json_has_an_object_for_an_empty_line_too(models: dict[str, Any], answers: Any) -> None:
    expected = {
        "classify": {"text": "", "label": None},
        "generate": {"prompt": "", "text": None},
        "translate": {"source": "", "text": None},
    }
    for command, said in expected.items():
        lines = answers(command, models[command][0], "--output", "json")
        assert json.loads(lines[1]) == said
        assert json.loads(lines[0]).keys() == said.keys()
    lines = answers("predict", models["vector"][0], "--output", "json")
    assert [json.loads(line)["prediction"] is None for line in lines] == [False, True, False, False]


def test_translate_with_scores_and_several_answers(models: dict[str, Any], answers: Any) -> None:
    path, model = models["translate"]
    beam = ["--decoding", "beam", "--beam-size", "3", "--max-new-tokens", "4"]
    options: dict[str, Any] = {"strategy": "beam", "beam_size": 3, "max_new_tokens": 4}
    texts, scores = model.generate(
        ["one two"], **options, num_return_sequences=2, return_scores=True
    )
    several = ["--num-return-sequences", "2", "--scores"]
    cells = answers("translate", path, *beam, *several)[0].split("\t")
    assert cells[1::2] == texts[0]
    assert [float(cell) for cell in cells[::2]] == pytest.approx(scores[0].tolist(), abs=1e-4)
    said = json.loads(answers("translate", path, *beam, *several, "--output", "json")[0])
    assert said["source"] == "one two"
    assert [one["text"] for one in said["answers"]] == texts[0]
    assert all(math.isfinite(one["score"]) for one in said["answers"])
    one = json.loads(answers("translate", path, *beam, "--output", "json")[0])
    assert one == {"source": "one two", "text": texts[0][0]}


@pytest.mark.parametrize(
    ("command", "model", "advice"),
    [
        ("translate", "classify", "use seqlearn classify"),
        ("classify", "translate", "use seqlearn translate"),
        ("translate", "generate", "use seqlearn generate"),
        ("generate", "translate", "use seqlearn translate"),
        ("classify", "vector", "use seqlearn predict"),
        ("predict", "generate", "use seqlearn generate"),
    ],
)
def test_another_command_is_named(
    command: str,
    model: str,
    advice: str,
    models: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([command, models[model][0]]) == 1
    said = capsys.readouterr().err
    assert f"seqlearn {command} does not fit" in said
    assert advice in said
    assert said.count("\n") == 1


def test_unknown_words_and_bad_bytes_are_named(
    models: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = models["classify"][0]
    file = tmp_path / "lines.txt"
    file.write_text("one\nthree\n", encoding="utf-8")
    assert main(["classify", path, str(file)]) == 0
    assert "line 2: 'three' at character 1" in capsys.readouterr().err
    assert main(["classify", path, str(file), "--unknown", "error"]) == 1
    assert "line 2: 'three' at character 1 is not in the model's vocab" in capsys.readouterr().err
    file.write_bytes(b"one\n" * 4999 + b"\xff\n")
    assert main(["classify", path, str(file)]) == 1
    captured = capsys.readouterr()
    assert "line 5000: expected UTF-8, got the byte 0xff" in captured.err
    assert captured.out.count("\n") >= 4500


def test_a_line_without_an_end(
    models: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(inputs, "LONGEST_LINE", 100)
    (tmp_path / "lines.txt").write_bytes(b"one\n" + b"a" * 10_000)
    assert main(["classify", models["classify"][0], str(tmp_path / "lines.txt")]) == 1
    assert "line 2: expected lines of at most" in capsys.readouterr().err
