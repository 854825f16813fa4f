"""Train on Multi30k with one of the configurations, then measure on the test split.

    python -m benchmarks multi30k [CONFIG] [--seeds 0 1 2] [--root FOLDER] [--out FOLDER]
                                  [options of `fit`]

CONFIG is a file of `configs/`, by default `multi30k-transformer.yaml` (English to German). Prints
BLEU on test_2016_flickr with and without case, BLEU without case by length of the source, and the
time; writes the training log next to the checkpoint. With `--seeds`, once for each seed, then the
mean. A checkpoint that the configuration selects by a metric of the validation split is measured,
the last one otherwise. Without `--root` the captions are downloaded.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import sacrebleu
import yaml
from sacrebleu.metrics.bleu import BLEUScore

from benchmarks.configs import COMMAND, CONFIGS
from seqlearn.cli.loading import load_module
from seqlearn.cli.runs import resolve
from seqlearn.data import Multi30k

BUCKETS = ((1, 8), (9, 11), (12, 14), (15, 19), (20, 99))


class RunResult(NamedTuple):
    """What a run showed on the test split."""

    lowercased: float  # BLEU that ignores case
    cased: float
    minutes: float  # of training, by the clock


def main() -> int:
    """Train and test, once for each seed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", nargs="?", default="multi30k-transformer.yaml")
    parser.add_argument("--seeds", nargs="+", type=int, help="the configuration's seed by default")
    parser.add_argument("--root", help="the folder with train.en.gz and the others")
    parser.add_argument("--out", help="for logs and checkpoints; runs/NAME by default")
    options, more = parser.parse_known_args()
    config = Path(options.config) if "/" in options.config else CONFIGS / options.config
    out = Path(options.out or f"runs/{config.stem}")
    if options.root:
        more += ["--data.root", options.root]
    if not options.seeds:
        return 0 if measure(config, out, options.root, more) else 1
    found = {}
    for seed in options.seeds:
        measured = measure(config, out / f"seed-{seed}", options.root, [*more, *seeded(seed)])
        if measured is None:
            return 1
        found[seed] = measured
    print("| seed | BLEU, lower-cased | BLEU, cased | minutes of training |\n|---|---|---|---|")
    for seed, one in found.items():
        print(f"| {seed} | {one.lowercased:.2f} | {one.cased:.2f} | {one.minutes:.1f} |")
    means = [statistics.mean(values) for values in zip(*found.values(), strict=True)]
    print(f"| mean | {means[0]:.2f} | {means[1]:.2f} | {means[2]:.1f} |")
    return 0


def seeded(seed: int) -> list[str]:
    """The options that give a run another seed: weights, order of batches, dropout."""
    names = "seed_everything", "data.seed", "model.recipe.seed"
    return [word for name in names for word in (f"--{name}", str(seed))]


def measure(config: Path, out: Path, root: str | None, more: Sequence[str]) -> RunResult | None:
    """Train, and measure on the test split; `None` if a command fails."""
    common = ["--config", str(config), "--trainer.default_root_dir", str(out), *more]
    logger = ["--trainer.logger", "lightning.pytorch.loggers.CSVLogger"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    if run(["fit", *common, *logger, "--trainer.logger.save_dir", str(out)]):
        return None
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"training took {seconds:.0f} seconds; CPU time of the first process: {used:.0f}")
    checkpoint = selected(out)
    one_process = ["--trainer.devices", "1", "--trainer.strategy", "auto"]
    if run(["test", *common, *one_process, "--trainer.logger", "false", "--ckpt_path", checkpoint]):
        return None
    languages = languages_of(checkpoint)
    pairs = list(Multi30k(root, languages).examples("test"))
    texts = load_module(checkpoint).generate([source for source, _ in pairs])
    by_length(pairs, texts)
    lowercased, cased = (score(pairs, texts, lowercase=one).score for one in (True, False))
    return RunResult(lowercased, cased, seconds / 60)


def selected(out: Path) -> str:
    """The checkpoint that a run selected by a metric; its last one if it monitored none."""
    trainer = {"default_root_dir": str(out)}
    try:
        found = resolve("test", "best", trainer)
    except ValueError:
        found = resolve("test", "last", trainer)
    assert found is not None  # only "auto" finds none
    return found


def languages_of(checkpoint: str) -> tuple[str, str]:
    """The languages that a run was trained on, which an option may have set."""
    saved = Path(checkpoint).parents[1] / "config.yaml"
    options = yaml.safe_load(saved.read_text(encoding="utf-8"))["data"]["init_args"]
    source, target = options["languages"]
    return source, target


def run(words: Sequence[str]) -> int:
    """Run a `seqlearn` command in a process of its own, which may start others."""
    environment = os.environ | {"COLUMNS": "120"}
    return subprocess.run([*COMMAND, *words], check=False, env=environment).returncode  # noqa: S603 -- our own command


def by_length(pairs: Sequence[tuple[str, str]], texts: Sequence[str]) -> None:
    """Print BLEU without case by the words in the source."""
    print("| words in the source | sentences | BLEU, lower-cased |\n|---|---|---|")
    for least, most in BUCKETS:
        rows = [i for i, (source, _) in enumerate(pairs) if least <= len(source.split()) <= most]
        bleu = score([pairs[i] for i in rows], [texts[i] for i in rows])
        print(f"| {least} to {most} | {len(rows)} | {bleu.score:.2f} |")


def score(
    pairs: Sequence[tuple[str, str]], texts: Sequence[str], *, lowercase: bool = True
) -> BLEUScore:
    """BLEU of translations, with the settings of `seqlearn test`."""
    return sacrebleu.corpus_bleu(
        list(texts), [[target for _, target in pairs]], lowercase=lowercase
    )
