"""Train on Multi30k as `configs/multi30k-transformer.yaml` says, then measure the test split.

    python benchmarks/multi30k.py [--root FOLDER] [--out runs/multi30k] [options of `seqlearn fit`]

Prints BLEU on test_2016_flickr with case and without, each with its signature, and leaves the
log of the training beside the checkpoint. Without `--root` the captions are downloaded.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from seqlearn.cli import main as seqlearn

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "multi30k-transformer.yaml"


def main() -> int:
    """Fit, then test the last checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", help="the folder with train.en.gz and the others")
    parser.add_argument("--out", default="runs/multi30k", help="for the log and the checkpoint")
    options, more = parser.parse_known_args()
    common = ["--config", str(CONFIG), "--trainer.default_root_dir", options.out, *more]
    common += ["--data.root", options.root] if options.root else []
    logger = ["--trainer.logger", "lightning.pytorch.loggers.CSVLogger"]
    logger += ["--trainer.logger.save_dir", options.out]
    failed = seqlearn(["fit", *common, *logger])
    if failed:
        return failed
    checkpoints = Path(options.out).rglob("*.ckpt")
    last = max(checkpoints, key=lambda path: path.stat().st_mtime)
    return seqlearn(["test", *common, "--ckpt_path", str(last), "--trainer.logger", "false"])


if __name__ == "__main__":
    sys.exit(main())
