"""Train on Multi30k with one of the configurations, then measure on the test split.

    python -m benchmarks multi30k [CONFIG] [--root FOLDER] [--out FOLDER] [options of `fit`]

CONFIG is a file of `configs/`, by default `multi30k-transformer.yaml` (English to German). Prints
cased and lower-cased BLEU on test_2016_flickr with their signatures, lower-cased BLEU by length of
the source, and the training time; writes the training log next to the checkpoint. Without `--root`
the captions are downloaded.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import sacrebleu
import yaml

from seqlearn.cli import load_module
from seqlearn.cli import main as seqlearn
from seqlearn.data import Multi30k

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
BUCKETS = ((1, 8), (9, 11), (12, 14), (15, 19), (20, 99))


def main() -> int:
    """Fit, then test the last checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("config", nargs="?", default="multi30k-transformer.yaml")
    parser.add_argument("--root", help="the folder with train.en.gz and the others")
    parser.add_argument("--out", help="for the log and the checkpoint; runs/NAME by default")
    options, more = parser.parse_known_args()
    config = Path(options.config) if "/" in options.config else CONFIGS / options.config
    out = options.out or f"runs/{config.stem}"
    common = ["--config", str(config), "--trainer.default_root_dir", out, *more]
    common += ["--data.root", options.root] if options.root else []
    logger = ["--trainer.logger", "lightning.pytorch.loggers.CSVLogger"]
    logger += ["--trainer.logger.save_dir", out]
    start = time.monotonic()
    failed = seqlearn(["fit", *common, *logger])
    if failed:
        return failed
    used = resource.getrusage(resource.RUSAGE_SELF)
    took = time.monotonic() - start
    print(f"training took {took:.0f} seconds, {used.ru_utime + used.ru_stime:.0f} of CPU time")
    checkpoints = Path(out).rglob("*.ckpt")
    last = str(max(checkpoints, key=lambda path: path.stat().st_mtime))
    failed = seqlearn(["test", *common, "--ckpt_path", last, "--trainer.logger", "false"])
    if failed:
        return failed
    by_length(config, options.root, last)
    return 0


def by_length(config: Path, root: str | None, checkpoint: str) -> None:
    """Print BLEU without case of the greedy translations, by the words in the source."""
    arguments = yaml.safe_load(config.read_text(encoding="utf-8"))["data"]["init_args"]
    pairs = list(Multi30k(root, tuple(arguments["languages"])).examples("test"))
    made = load_module(checkpoint).generate([source for source, _ in pairs])
    print("| words in the source | sentences | BLEU, lower-cased |\n|---|---|---|")
    for least, most in BUCKETS:
        rows = [i for i, (source, _) in enumerate(pairs) if least <= len(source.split()) <= most]
        bleu = sacrebleu.corpus_bleu(
            [made[i] for i in rows], [[pairs[i][1] for i in rows]], lowercase=True
        )
        print(f"| {least} to {most} | {len(rows)} | {bleu.score:.2f} |")
