"""Runs that are started by `torchrun` or Slurm: fit, continue, test, predict."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqlearn.cli import main

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "configs" / "slurm.sh"


@pytest.mark.skipif(sys.platform == "win32", reason="a script of bash")
def test_the_slurm_script_fits_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["bash", "-n", str(SCRIPT)], check=True)
    text = SCRIPT.read_text(encoding="utf-8")
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", text, re.MULTILINE))
    _, _, words = text.partition("\nsrun --kill-on-bad-exit=1 seqlearn ")
    command = shlex.split(words.replace("\\\n", " "))
    assert command[command.index("--trainer.num_nodes") + 1] == options["nodes"]
    assert command[command.index("--trainer.devices") + 1] == options["ntasks-per-node"]
    assert options["gpus-per-node"] == options["ntasks-per-node"]
    assert options["signal"].startswith("SIGUSR1@")
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        main([*command, "--print_config"])
    assert ended.value.code == 0
    assert "num_nodes: 2" in capsys.readouterr().out


def torchrun(folder: Path, *words: str) -> None:
    """Run a command of seqlearn in two processes that torchrun starts, on the loopback device."""
    script = folder / "run.py"
    script.write_text("import sys\nfrom seqlearn.cli import main\nsys.exit(main())\n", "utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    agent = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    agent += ["--master-addr", "127.0.0.1", "--master-port", port, str(script)]
    done = subprocess.run(
        [*agent, *words], capture_output=True, encoding="utf-8", check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr


def test_processes_of_torchrun_that_would_train_alone_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a CPU one device is the default: without a check, both would train the whole model."""
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in (ranks | {"TORCHELASTIC_RUN_ID": "test", "MASTER_PORT": "1"}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    words = ["--model", "GRU", "--data", "Dates", "--data.first_year", "2000"]
    words += ["--data.last_year", "2000", "--trainer.accelerator", "cpu"]
    assert main(["fit", *words, "--trainer.default_root_dir", str(tmp_path)]) == 1
    said = "torchrun started 2 processes, and each would run on its own, because the Trainer uses"
    assert f"{said} one device; pass --trainer.devices 2 --trainer" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # of checkpoints, for the last folder
def test_torchrun_fits_continues_tests_and_predicts(tmp_path: Path) -> None:
    for split, count in (("train", 60), ("val", 10), ("test", 31)):
        pairs = [
            f"{'abcdefg'[n % 7]} {n % 10}\t{n % 10} {'ABCDEFG'[n % 7]}\n" for n in range(count)
        ]
        (tmp_path / f"{split}.tsv").write_text("".join(pairs), encoding="utf-8")
    words = ["--model", "GRU", "--model.d_model", "8", "--model.recipe.warmup_steps", "5"]
    words += ["--data", "TextPairs", "--data.batch_tokens", "32", "--trainer.accelerator", "cpu"]
    words += ["--data.source.tokenizer", "char", "--data.target.tokenizer", "char"]
    words += [f"--data.{split}={tmp_path / split}.tsv" for split in ("train", "val", "test")]
    words += ["--trainer.logger", "false", "--trainer.enable_progress_bar", "false"]
    two = ["--trainer.devices", "2", "--trainer.strategy", "ddp"]

    def fit(name: str, epochs: str) -> None:
        run = ["--trainer.max_epochs", epochs, "--trainer.default_root_dir", str(tmp_path / name)]
        torchrun(tmp_path, "fit", *words, *two, *run, "--ckpt_path", "auto")

    fit("whole", "2")
    fit("parts", "1")
    fit("parts", "2")
    whole, parts = (max((tmp_path / n / "checkpoints").glob("*.ckpt")) for n in ("whole", "parts"))
    assert whole.name == parts.name
    state, other = (torch.load(path, weights_only=True)["state_dict"] for path in (whole, parts))
    assert all(torch.equal(state[name], other[name]) for name in state)

    lines = []
    for name in ("whole", "one"):
        run = [
            *words,
            "--ckpt_path",
            str(whole),
            "--trainer.default_root_dir",
            str(tmp_path / name),
        ]
        if name == "whole":
            torchrun(tmp_path, "test", *run, *two)
            torchrun(tmp_path, "predict", *run, *two)
        else:
            assert main(["predict", *run]) == 0
        lines.append((tmp_path / name / "predictions.txt").read_text(encoding="utf-8").splitlines())
    assert len(lines[0]) == 31
    assert lines[0] == lines[1]
