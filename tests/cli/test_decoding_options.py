"""The decoding options of the commands are those of `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import seqlearn as sl
from seqlearn.cli import main


class Model(sl.GRU):
    """Records the options that `generate` receives."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=4)
        self.given: list[dict[str, Any]] = []

    def generate(self, sources: list[str], **options: Any) -> list[str]:  # type: ignore[override]
        self.given.append(options)
        return ["a h"] * len(sources)


def test_the_options_that_are_given_reach_generate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model(sl.SequenceSpec(sl.VectorSpec(2), sl.TextSpec(9, 4)))
    monkeypatch.setattr("seqlearn.cli.inference.load_module", lambda *_: model)
    (file := tmp_path / "in.txt").write_text("0.5,1.0\n", encoding="utf-8")
    words = "--decoding beam --beam-size 3 --length-penalty 0.5 --early-stopping never"
    other_words = "--early-stopping false --no-repeat-ngram-size 2 --min-new-tokens 1"
    for more in ("", words, f"--decoding beam {other_words}"):
        assert main(["translate", "model.ckpt", str(file), *more.split()]) == 0
        assert capsys.readouterr().out == "a h\n"
    beam = {"strategy": "beam", "beam_size": 3, "length_penalty": 0.5, "early_stopping": "never"}
    other = {
        "strategy": "beam",
        "early_stopping": False,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 1,
    }
    assert model.given == [{}, beam, {"strategy": "beam"} | other]


WRONG = {
    "--beam-size 3": (
        "--decoding greedy does not use --beam-size; leave it out, or pass --decoding beam\n"
    ),
    "--decoding beam --beam-size 0": "expected --beam-size of at least 1, got 0",
    "--num-return-sequences 2": (
        "--decoding greedy generates one text for each source, got --num-return-sequences 2; pass "
        "--decoding beam or --decoding sample\n"
    ),
    "--decoding beam --num-return-sequences 9": "of at most --beam-size 4, got 9",
    "--decoding sample --temperature 0": "expected a --temperature above 0",
    "--seed 1": "--decoding greedy does not use --seed",
    "--decoding sample --seed -1": "--seed: expected 0 to",
}


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_option_is_named_before_any_line_is_read(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model(sl.SequenceSpec(sl.VectorSpec(2), sl.TextSpec(9, 4)))
    monkeypatch.setattr("seqlearn.cli.inference.load_module", lambda *_: model)
    (file := tmp_path / "in.txt").write_text("", encoding="utf-8")
    assert main(["translate", "model.ckpt", str(file), *words.split()]) == 1
    said = capsys.readouterr().err
    assert said.startswith("seqlearn: error: ")
    assert WRONG[words] in said
    assert "line 1" not in said


def test_view_says_that_a_source_is_no_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in (sl.SeriesSpec(2), sl.VectorSpec(2)):
        model = sl.GRU(sl.SequenceSpec(source, sl.TextSpec(9, 4)), d_model=4)
        monkeypatch.setattr("seqlearn.cli.inference.load_module", lambda *_, model=model: model)
        assert main(["view", "model.ckpt", "a text"]) == 1
        said = capsys.readouterr().err
        assert f"the source of model.ckpt is {type(source).__name__}; use sl.record(model)" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("view model.ckpt a --beam-size 8", "--beam-size: options of generated texts, and model."),
        ("predict model.ckpt IN --seed 7", "--seed is for texts that are drawn; model.ckpt draws"),
    ],
)
def test_an_option_of_decoding_without_a_decoder_is_refused(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = sl.data.LabelledText([("a", "x"), ("b", "y")], text=sl.data.Text("char"))
    model = sl.GRU(data.spec, d_model=4)
    monkeypatch.setattr("seqlearn.cli.inference.load_module", lambda *_: model)
    monkeypatch.chdir(tmp_path)
    Path("IN").write_text("a\n", encoding="utf-8")
    assert main(words.split()) == 1
    assert message in capsys.readouterr().err


def test_every_field_of_the_config_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("translate", "view"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        out = capsys.readouterr().out
        for field in vars(sl.GenerationConfig()):
            name = "decoding" if field == "strategy" else field.replace("_", "-")
            assert f"--{name} " in out
    assert main(["translate", "model.ckpt", "--decoding", "best"]) == 2
    assert "invalid choice: 'best'" in capsys.readouterr().err
