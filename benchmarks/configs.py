"""Run every shipped configuration as a user would, and compare the result with its reference.

    python -m benchmarks configs [--only dates-lstm …] [--multi30k FOLDER] [--trec FOLDER]
                                 [--shakespeare FILE] [--runs FOLDER] [--out FILE]

Each is run by `seqlearn fit --config configs/NAME.yaml`, then `seqlearn test` (for a language model
`validate`), in separate processes: on the checkpoint that a `ModelCheckpoint` of the configuration
selects by a metric of the validation split, on the last one otherwise. `EXPECTED` has the
references. The table is written row by row; the exit status is 1 if a result misses its reference.
Multi30k is downloaded unless its folder is given; TREC and tiny Shakespeare are run if their files
are given.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

from benchmarks.fitting import Table
from seqlearn.cli.runs import newest_checkpoint
from seqlearn.core.checkpoint import read_checkpoint

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
COMMAND = [sys.executable, "-m", "seqlearn"]  # which DDP can start once more


class Expected(NamedTuple):
    """The figure that a configuration must reach."""

    metric: str  # as `seqlearn test` or `seqlearn validate` prints it
    least: float
    most: float = float("inf")
    source: str = "dates.md"  # in `benchmarks/results/`

    def holds(self, figure: float) -> bool:
        """Whether a figure lies within the bounds."""
        return self.least <= figure <= self.most

    def __str__(self) -> str:
        if self.least == float("-inf"):
            return f"≤ {self.most:g}"
        return (
            f"≥ {self.least:g}" if self.most == float("inf") else f"{self.least:g} to {self.most:g}"
        )


# The figures of the results, less what another CPU may change: 0.5 BLEU, one per cent of accuracy.
EXPECTED = {
    "dates-feedforward": Expected("test/accuracy", 0.99),
    # Through one context vector a tanh RNN does not learn to write a date: that is its limitation.
    "dates-rnn": Expected("test/exact_match", float("-inf"), 0.05),
    "dates-gru": Expected("test/exact_match", 0.99),
    "dates-lstm": Expected("test/exact_match", 0.99),
    "dates-attention": Expected("test/exact_match", 0.99),
    "dates-transformer": Expected("test/exact_match", 0.99),
    "trec": Expected("test/accuracy", 0.87, source="trec.md"),
    "shakespeare": Expected("val/loss", float("-inf"), 1.88, source="shakespeare.md"),
    "multi30k-de-en-attention": Expected("test/bleu_lc", 33.5, source="multi30k-de-en.md"),
    "multi30k-de-en-lstm": Expected("test/bleu_lc", 16.1, source="multi30k-de-en.md"),
    "multi30k-de-en-transformer": Expected("test/bleu_lc", 38.5, source="multi30k-de-en.md"),
    "multi30k-transformer": Expected("test/bleu_lc", 37.8, source="multi30k-en-de-transformer.md"),
    "multi30k-transformer-averaged": Expected("test/bleu_lc", 39.9, source="multi30k-recipes.md"),
}


def data_options(name: str, options: argparse.Namespace) -> list[str] | None:
    """The options that name the data of a configuration; None if its files are not named."""
    if name.startswith("multi30k"):
        return ["--data.root", str(options.multi30k)] if options.multi30k else []
    if name == "trec":
        if options.trec is None:
            return None
        files = options.trec / "train.txt", options.trec / "test.txt"
        return ["--data.train", str(files[0]), "--data.test", str(files[1])]
    if name == "shakespeare":
        return ["--data.train", str(options.shakespeare)] if options.shakespeare else None
    return []


def run(words: Sequence[str], log: Path) -> str:
    """Run one `seqlearn` command; its output goes to `log` as well.

    Raises:
        RuntimeError: If it fails; the message holds its last line.
    """
    environment = os.environ | {"COLUMNS": "160"}
    done = subprocess.run(  # noqa: S603 -- our own command
        [*COMMAND, *words], capture_output=True, encoding="utf-8", check=False, env=environment
    )
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ seqlearn {' '.join(words)}\n{done.stdout}{done.stderr}\n")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"seqlearn {words[0]} ended with status {done.returncode}: {last}")
    return done.stdout


class Outcome(NamedTuple):
    """What a configuration showed."""

    figure: float  # of `EXPECTED[name].metric`
    selected: str  # the metric that selected the checkpoint, and its value
    seconds: float  # of CPU time, in `fit`


def monitored(name: str) -> str | None:
    """The metric by which a configuration selects its checkpoint; None for the last one."""
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
    for callback in config["trainer"].get("callbacks", []):
        options = callback.get("init_args", {})
        if callback["class_path"].endswith(".ModelCheckpoint") and "monitor" in options:
            return str(options["monitor"])
    return None


def selection(folder: Path, metric: str) -> str:
    """The value of the metric that selected the best checkpoint of a run, and its epoch."""
    newest = newest_checkpoint({"default_root_dir": str(folder)})
    states = read_checkpoint(str(newest), map_location="cpu")["callbacks"].values()
    state = next(each for each in states if each.get("monitor") == metric)
    epoch = re.search(r"epoch=(\d+)", state["best_model_path"])
    assert epoch is not None
    return f"`{metric}` {float(state['best_model_score']):.4g}, epoch {int(epoch[1]) + 1}"


def measure(name: str, data: Sequence[str], folder: Path) -> Outcome:
    """Fit a configuration and measure its checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    common = ["--config", str(CONFIGS / f"{name}.yaml"), *data]
    common += ["--trainer.default_root_dir", str(folder)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(["fit", *common], log)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    metric = EXPECTED[name].metric
    command = "validate" if metric.startswith("val/") else "test"
    monitor = monitored(name)
    checkpoint = "last" if monitor is None else "best"
    printed = run([command, *common, "--ckpt_path", checkpoint], log)
    found = re.search(rf"{metric}\W+([\d.e+-]+)", printed)
    if found is None:
        raise RuntimeError(f"expected {metric} in the output of seqlearn {command}; see {log}")
    selected = "the last" if monitor is None else selection(folder, monitor)
    return Outcome(float(found[1]), selected, seconds)


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(EXPECTED), default=list(EXPECTED))
    parser.add_argument("--multi30k", type=Path, help="the folder with train.en.gz and the others")
    parser.add_argument("--trec", type=Path, help="the folder with train.txt and test.txt")
    parser.add_argument("--shakespeare", type=Path, help="the file input.txt")
    parser.add_argument("--runs", type=Path, default=Path("runs/configs"), help="for checkpoints")
    parser.add_argument("--out", type=Path, default=Path("runs/configs.md"))
    options = parser.parse_args()
    columns = ["configuration", "checkpoint", "figure", "expected", "got", "holds", "CPU time"]
    table = Table(options.out, [*columns, "results"])
    missed = False
    for name in options.only:
        expected = EXPECTED[name]
        bounds = [f"`{expected.metric}`", expected]
        row = f"`{name}.yaml`"
        end = f"[{expected.source}]({expected.source})"
        data = data_options(name, options)
        if data is None:
            table.add([row, "", *bounds, "not run: its files were not named", "", "", end])
            continue
        try:
            found = measure(name, data, options.runs / name)
        except RuntimeError as error:
            missed = True
            table.add([row, "", *bounds, error, "no", "", end])
            continue
        holds = expected.holds(found.figure)
        missed |= not holds
        got = [f"{found.figure:.4g}", "yes" if holds else "no", f"{found.seconds:.0f} s"]
        table.add([row, found.selected, *bounds, *got, end])
    return int(missed)
