"""CPU time of a validation epoch with and without generated texts, next to a training epoch.

    python -m benchmarks validation --root FOLDER [CONFIG …]

Each configuration of Multi30k (by default those from German to English) is trained for one epoch,
then validated without and with `GenerationMetrics`: the cost of `val/bleu`, on all 1,014 captions
and on the first 250.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import lightning as L
import yaml

import seqlearn as sl

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
NAMES = ("attention", "lstm", "transformer")


def main() -> None:
    """Train and validate each configuration; print a row for each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("configs", nargs="*", default=[f"multi30k-de-en-{n}" for n in NAMES])
    parser.add_argument("--root", required=True, help="the folder with train.en.gz and the others")
    options = parser.parse_args()
    print("| configuration | training | validation | with BLEU | of 250 captions | `val/bleu` |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in options.configs:
        config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))
        given = config["data"]["init_args"]
        source = sl.data.Text(**given.pop("source"))
        data = sl.data.Multi30k(options.root, source=source, **given)
        arguments = config["model"]["init_args"]
        recipe = sl.Recipe(**arguments.pop("recipe"))
        model: Any = getattr(sl, config["model"]["class_path"])
        model = model(data.spec, recipe=recipe, **arguments)
        training, _ = timed("fit", model, data, limit_val_batches=0)
        plain, _ = timed("validate", model, data)
        whole, bleu = timed("validate", model, data, sl.callbacks.GenerationMetrics())
        some, _ = timed("validate", model, data, sl.callbacks.GenerationMetrics(num_examples=250))
        seconds = " | ".join(f"{each:.1f} s" for each in (training, plain, whole, some))
        print(f"| `{name}.yaml` | {seconds} | {bleu:.1f} |", flush=True)


def timed(
    step: str, model: Any, data: Any, *callbacks: L.Callback, **options: Any
) -> tuple[float, float]:
    """The CPU time of a method of the Trainer, and `val/bleu` if it was measured."""
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )
    start = time.process_time()
    getattr(trainer, step)(model, data)
    return time.process_time() - start, float(trainer.callback_metrics.get("val/bleu", 0.0))
