"""What the commands load: a checkpoint, a folder of `save_pretrained`, a repository on the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import seqlearn as sl
from seqlearn.cli import load_module, main
from seqlearn.core import pretrained

DATA = sl.data.TextPairs([("one two", "eins zwei"), ("two", "zwei")], source=sl.data.Text("word"))


@pytest.fixture
def model() -> sl.LSTM:
    DATA.prepare_data()
    DATA.setup("fit")
    return sl.LSTM(DATA.spec, d_model=4).eval()


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two modules are of one class and have the same weights."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return type(one) is type(other) and all(torch.equal(a, b) for a, b in pairs)


def test_a_folder(model: sl.LSTM, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model.save_pretrained(tmp_path / "saved")
    for name in (None, "LSTM", "seqlearn.LSTM"):
        assert same(load_module(str(tmp_path / "saved"), name), model)
    (tmp_path / "lines.txt").write_text("one two\n\ntwo\n", encoding="utf-8")
    main(["translate", str(tmp_path / "saved"), str(tmp_path / "lines.txt")])
    first, last = model.generate(["one two", "two"])
    assert capsys.readouterr().out == f"{first}\n\n{last}\n"


def test_a_repository(model: sl.LSTM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model.save_pretrained(tmp_path)
    asked = []

    def download(repository: str, name: str, **_: Any) -> str:
        asked.append((repository, name))
        return str(tmp_path / name)

    monkeypatch.setattr(pretrained, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    assert same(load_module("someone/dates-en-de"), model)
    assert {repository for repository, _ in asked} == {"someone/dates-en-de"}


@pytest.mark.parametrize("name", ["nothing.ckpt", "runs/last.ckpt", "a/b/c", "nothing"])
def test_nothing_of_this_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"{name}: there is no such checkpoint"):
        load_module(name)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}: .* in this folder; expected what"):
        load_module(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(ValueError, match="one without 'format'; load the folder of another"):
        load_module(str(tmp_path))
    (tmp_path / "config.json").write_text('{"format": "other", "class": "x"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"format 'seqlearn\.pretrained/2', got 'other'"):
        load_module(str(tmp_path))


def test_another_class_is_refused(model: sl.LSTM, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"holds a seqlearn\.models\.lstm\.LSTM, got --model GRU"):
        load_module(str(tmp_path), "GRU")
