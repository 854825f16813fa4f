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
    for more in ("", words, "--early-stopping false --no-repeat-ngram-size 2 --min-new-tokens 1"):
        assert main(["translate", "model.ckpt", str(file), *more.split()]) == 0
        assert capsys.readouterr().out == "a h\n"
    beam = {"strategy": "beam", "beam_size": 3, "length_penalty": 0.5, "early_stopping": "never"}
    other = {"early_stopping": False, "no_repeat_ngram_size": 2, "min_new_tokens": 1}
    assert model.given == [{}, beam, other]


def test_every_field_of_the_config_is_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("translate", "view"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        out = capsys.readouterr().out
        for field in vars(sl.GenerationConfig()):
            name = "decoding" if field == "strategy" else field.replace("_", "-")
            assert f"--{name} " in out
    with pytest.raises(SystemExit):
        main(["translate", "model.ckpt", "--decoding", "best"])
    assert "invalid choice: 'best'" in capsys.readouterr().err
