"""Do the defaults learn? Every architecture with all defaults, against the best of twelve trials.

    python -m benchmarks defaults --root FOLDER [--tasks multi30k trec] [--sizes 240 800 …]
        [--only LSTM …] [--runs defaults trials] [--batches 256 …] [--seed 0]
        [--results FILE.jsonl] [--out FILE.md]

FOLDER holds `multi30k/` and `trec/`. The default run is `L.Trainer(max_epochs=…)` with a model and
a data module that get no argument but the data and how texts are cut. The trials are every pair of
`LEARNING_RATES` and `BATCH_TOKENS`, with the same sizes, epochs and seed.

The best trial is chosen among 12 runs with seed 0; where it is above the defaults, that may be the
choice. `--seed 1 --only RNN --batches 256` repeats runs with another seed, and the second table has
the means over all seeds of the runs that were repeated.

Each run is appended to FILE.jsonl, and a run that is there already is not repeated: an interrupted
benchmark goes on. FILE.md is the table of all runs so far.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import lightning as L

import seqlearn as sl
from seqlearn.metrics import CorpusBLEU

LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3)
BATCH_TOKENS = (256, 1024, 4096)
EPOCHS = {
    ("multi30k", 240): 30,
    ("multi30k", 800): 8,
    ("multi30k", 2_000): 3,
    ("multi30k", 20_000): 1,
    ("trec", 240): 30,
    ("trec", 800): 12,
    ("trec", 2_000): 6,
    ("trec", 20_000): 3,
}
VALIDATION_SENTENCES = 300
ARCHITECTURES: dict[str, Callable[..., sl.SequenceModule]] = {
    cls.__name__: cls
    for cls in (sl.FeedForward, sl.RNN, sl.GRU, sl.LSTM, sl.AttentionSeq2Seq, sl.Transformer)
}
Run = dict[str, Any]


def multi30k(root: Path, examples: int, **options: Any) -> sl.data.TextPairs:
    """The first sentences of Multi30k, English to German."""

    def pairs(split: str, count: int) -> list[dict[str, str]]:
        texts = [
            gzip.decompress((root / "multi30k" / f"{split}.{language}.gz").read_bytes())
            .decode()
            .split("\n")[:count]
            for language in ("en", "de")
        ]
        return [{"en": en, "de": de} for en, de in zip(*texts, strict=True)]

    train, val = pairs("train", examples), pairs("val", VALIDATION_SENTENCES)
    return sl.data.TextPairs(train, val, columns=("en", "de"), **options)


def trec(root: Path, examples: int, **options: Any) -> sl.data.LabelledText:
    """The first questions of TREC and their six classes; the last 500 of train are validation."""
    lines = (root / "trec" / "train.txt").read_text("latin-1").split("\n")
    rows = [
        {"label": name.partition(":")[0], "text": text}  # of "LOC:city", the coarse class
        for name, text in (line.split(" ", 1) for line in lines if line)
    ]
    text = sl.data.Text("word", lowercase=True)
    train, val = rows[:-500][:examples], rows[-500:]
    return sl.data.LabelledText(train, val, None, text, columns=("text", "label"), **options)


TASKS = {"multi30k": multi30k, "trec": trec}


def train(root: Path, task: str, size: int, name: str, seed: int = 0, **trial: float) -> Run:
    """Train one module and measure it; without a trial, with all defaults."""
    options = {"batch_tokens": int(trial["batch_tokens"])} if trial else {}
    recipe = sl.Recipe(lr=trial["lr"]) if trial else None
    data = TASKS[task](root, size, **options)
    L.seed_everything(seed, verbose=False)
    model = ARCHITECTURES[name](data.spec, recipe=recipe)
    trainer = L.Trainer(
        max_epochs=EPOCHS[task, size],
        accelerator="cpu",
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.process_time()
    trainer.fit(model, data)
    seconds = time.process_time() - start
    judge = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    figures = judge.validate(model, data, verbose=False)[0]
    run: Run = {"task": task, "size": size, "architecture": name, "trial": trial or None}
    run |= {"seed": seed} if seed else {}
    run |= {"steps": trainer.global_step, "seconds": round(seconds, 1)}
    run["figure"] = figures["val/accuracy" if task == "trec" else "val/token_accuracy"]
    if (task, size) == ("multi30k", 240):
        sources, references = zip(*data.examples("train"), strict=True)
        bleu = CorpusBLEU()
        bleu.update(model.generate(sources), references)
        run["train_bleu"] = float(bleu.compute())
    return run


def missing(args: argparse.Namespace, done: list[Run]) -> Iterator[tuple[str, int, str, Any]]:
    """The runs that were asked for and are not done: all defaults first, then small data first."""
    known = {
        (run["task"], run["size"], run["architecture"], str(run["trial"]))
        for run in done
        if run.get("seed", 0) == args.seed
    }
    grid = [{"lr": lr, "batch_tokens": b} for b, lr in product(args.batches, LEARNING_RATES)]
    trials = [None] * ("defaults" in args.runs) + grid * ("trials" in args.runs)
    for trial, size, task, name in product(trials, args.sizes, args.tasks, args.only):
        if (task, size, name, str(trial)) not in known:
            yield task, size, name, trial


def table(runs: list[Run]) -> str:
    """The default against the best trial of each cell, in Markdown."""
    titles = "task examples epochs architecture figure defaults best share lr batch_tokens trials"
    lines = [f"| {' | '.join(titles.split())} |", "|---" * len(titles.split()) + "|"]
    for (task, size), name in product(EPOCHS, ARCHITECTURES):
        cell = [
            run
            for run in runs
            if (run["task"], run["size"], run["architecture"]) == (task, size, name)
            and not run.get("seed")
        ]
        for key, title in (
            ("figure", "accuracy" if task == "trec" else "token accuracy"),
            ("train_bleu", "BLEU on train"),
        ):
            defaults = [run[key] for run in cell if run["trial"] is None and key in run]
            trials = [run for run in cell if run["trial"] is not None and key in run]
            if not defaults or not trials:
                continue
            best = max(trials, key=lambda run: run[key])
            scale, unit = (1, "") if key == "train_bleu" else (100, "%")
            lines.append(
                f"| {task} | {size:,} | {EPOCHS[task, size]} | `{name}` | {title} "
                f"| {scale * defaults[0]:.1f}{unit} | {scale * best[key]:.1f}{unit} "
                f"| {defaults[0] / best[key]:.0%} | {best['trial']['lr']:g} "
                f"| {best['trial']['batch_tokens']} | {len(trials)} |"
            )
    return "\n".join(lines) + "\n"


def table_over_seeds(runs: list[Run]) -> str:
    """The means of the runs that were repeated with other seeds, in Markdown."""
    figures: dict[tuple[str, int, str, str], dict[int, float]] = {}
    for run in runs:
        trial = run["trial"] and f"lr {run['trial']['lr']:g}, {run['trial']['batch_tokens']} tokens"
        key = (run["task"], run["size"], run["architecture"], trial or "defaults")
        figures.setdefault(key, {})[run.get("seed", 0)] = run["figure"]
    lines = ["| task | examples | architecture | run | seeds | figures | mean |", "|---" * 7 + "|"]
    for (task, size, name, label), found in figures.items():
        if len(found) > 1:
            seeds = ", ".join(map(str, sorted(found)))
            each = ", ".join(f"{100 * found[seed]:.1f}%" for seed in sorted(found))
            mean = f"{100 * sum(found.values()) / len(found):.1f}%"
            lines.append(f"| {task} | {size:,} | `{name}` | {label} | {seeds} | {each} | {mean} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what was asked for and is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    sizes = sorted({size for _, size in EPOCHS})
    parser.add_argument("--sizes", nargs="+", type=int, choices=sizes, default=sizes)
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    runs = ("defaults", "trials")
    parser.add_argument("--runs", nargs="+", choices=runs, default=runs)
    parser.add_argument(
        "--batches", nargs="*", type=int, choices=BATCH_TOKENS, default=BATCH_TOKENS
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("runs/defaults.jsonl"))
    parser.add_argument("--out", type=Path, default=Path("runs/defaults.md"))
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for path in (args.results, args.out):
        path.parent.mkdir(parents=True, exist_ok=True)
    args.results.touch()

    def done() -> list[Run]:
        return [json.loads(line) for line in args.results.read_text(encoding="utf-8").splitlines()]

    for task, size, name, trial in missing(args, done()):
        run = train(args.root, task, size, name, args.seed, **(trial or {}))
        with args.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(run) + "\n")
        print(json.dumps(run), flush=True)
    tables = f"{table(done())}\n{table_over_seeds(done())}"
    args.out.write_text(tables, encoding="utf-8")
