"""`seqlearn compare`: its options are those of `fit`, and reach `sl.compare`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import seqlearn as sl
from seqlearn.cli import compare as command
from seqlearn.cli import main


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `sl.compare` was called with."""
    found: dict[str, Any] = {}

    def record(data: Any, models: Any, **options: Any) -> Any:
        found.update(options, data=data, models=models)
        return SimpleNamespace(folder=Path(options["directory"]))

    monkeypatch.setattr(command, "compare_models", record)
    return found


CONFIG = """\
seed_everything: 3
model:
  class_path: LSTM
  init_args: {d_model: 24, recipe: {lr: 4.0e-3}}
data:
  class_path: Recall
  init_args: {distance: 3}
trainer:
  max_epochs: 2
  accelerator: cpu
  callbacks:
    - class_path: lightning.pytorch.callbacks.EarlyStopping
      init_args: {monitor: val/loss}
"""


def test_a_configuration_of_fit(
    called: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(CONFIG, encoding="utf-8")
    argv = ["compare", "--config", str(tmp_path / "run.yaml"), "--models", "GRU"]
    argv += ['{"class_path": "Transformer", "init_args": {"num_layers": 2}}', "--budget", "1.5"]
    assert main([*argv, "--jobs", "2", "--directory", str(tmp_path / "out")]) == 0
    assert isinstance(called["data"], sl.data.Recall)
    assert called["data"].distance == 3
    first, *others = called["models"]
    assert first["class_path"] == "seqlearn.LSTM"
    assert first["init_args"]["d_model"] == 24
    assert first["init_args"]["recipe"]["lr"] == 4e-3
    assert others == ["GRU", {"class_path": "Transformer", "init_args": {"num_layers": 2}}]
    assert called["seeds"] == [3]
    assert (called["budget"], called["jobs"], called["parameters"]) == (1.5, 2, "first")
    (stopping,) = called["trainer"].pop("callbacks")
    assert type(stopping).__name__ == "EarlyStopping"
    assert called["trainer"] == {"max_epochs": 2, "accelerator": "cpu"}
    assert f"Report: {tmp_path / 'out' / 'report.html'}" in capsys.readouterr().out


def test_the_whole_configuration_that_fit_prints_is_read(
    called: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", "--model", "GRU", "--data", "Recall", "--trainer.max_epochs", "2"]
    with pytest.raises(SystemExit):
        main([*words, "--trainer.default_root_dir", str(tmp_path), "--print_config"])
    printed = capsys.readouterr().out
    assert {"unknown", "optimizer", "ckpt_path"} <= set(yaml.safe_load(printed))
    (tmp_path / "config.yaml").write_text(printed, encoding="utf-8")
    assert main(["compare", "--config", str(tmp_path / "config.yaml")]) == 0
    assert "no effect" not in capsys.readouterr().err
    assert called["models"][0]["class_path"] == "seqlearn.GRU"
    assert called["trainer"] == {"max_epochs": 2}
    words = ["--unknown", "error", "--ckpt_path", "auto"]
    assert main(["compare", "--config", str(tmp_path / "config.yaml"), *words]) == 0
    said = "--ckpt_path, --unknown: no effect in a comparison"
    assert said in capsys.readouterr().err


def test_options_alone(called: dict[str, Any]) -> None:
    argv = ["compare", "--data", "Recall", "--data.distance", "2", "--seeds", "4", "5"]
    assert main([*argv, "--parameters", "1000"]) == 0
    assert called["models"] is None
    assert (called["seeds"], called["parameters"], called["trainer"]) == ([4, 5], 1000, {})


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--data", "Recal"], "did you mean Recall"),
        (["--models", "GRU"], "data"),
        (["--data", "Recall", "--models", "GRUU", "--directory", "{}/a"], "got 'GRUU'"),
        (["--data", "Recall", "--budgets", "3"], "see `seqlearn compare --help`"),
    ],
)
def test_errors_are_one_line(
    argv: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *(word.format(tmp_path) for word in argv)]) in (1, 2)
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
