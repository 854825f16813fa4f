"""`seqlearn demo`: train, evaluate and inspect a Transformer in three minutes, offline."""

from __future__ import annotations

import logging
import shlex
import sys
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar

from seqlearn.atomic_files import atomic_path, require_writable
from seqlearn.callbacks import AttentionMonitor
from seqlearn.cli.arguments import ArgumentParser
from seqlearn.core import Recipe
from seqlearn.data import Dates
from seqlearn.introspect import record
from seqlearn.models import Transformer

EPOCHS = 5
SHOWN = 5


def run_demo(argv: Sequence[str]) -> None:
    """Train a Transformer to translate written-out dates; print metrics, and plot its attention.

    Args:
        argv: The arguments after `seqlearn demo`.

    Raises:
        OSError: If the folder for the results cannot be written; raised before training.
        ValueError: If an option is out of range.
    """
    parser = ArgumentParser(
        prog="seqlearn demo",
        description="Train a Transformer to translate written-out dates from one language to "
        "another, then print its exact match on the test split and some translations, and plot "
        "its attention.",
    )
    parser.add_argument("--source-locale", default="en", help="any locale of the CLDR (default en)")
    parser.add_argument("--target-locale", default="de", help="any locale of the CLDR (default de)")
    parser.add_argument("--directory", type=Path, default=Path("runs/demo"), help="for the results")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"default {EPOCHS}")
    parser.add_argument("--max-minutes", type=float, default=2.4, help="of training (default 2.4)")
    parser.add_argument("--seed", type=int, default=0, help="of data, weights and training")
    options = parser.parse_args(argv)
    if options.epochs < 1 or options.max_minutes <= 0 or options.seed < 0:
        raise ValueError(
            "expected --epochs of at least 1, --max-minutes above 0 and --seed of 0 or more, got "
            f"{options.epochs}, {options.max_minutes} and {options.seed}"
        )
    require_writable(options.directory, "--directory")
    _silence_lightning()

    L.seed_everything(options.seed, verbose=False)
    data = Dates(options.source_locale, options.target_locale, batch_tokens=4096, seed=options.seed)
    model = Transformer(
        data.spec,
        d_model=64,
        num_layers=2,
        num_heads=4,
        dropout=0.0,
        recipe=Recipe(lr=3e-3, warmup_steps=100, schedule="cosine", seed=options.seed),
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(
        f"Training a Transformer ({parameters:,} parameters) to write dates of the locale "
        f"{options.source_locale!r} in the locale {options.target_locale!r}."
    )
    trainer = L.Trainer(
        max_epochs=options.epochs,
        max_time=timedelta(minutes=options.max_minutes),
        accelerator="cpu",
        default_root_dir=options.directory,
        logger=False,
        callbacks=[
            AttentionMonitor(directory=options.directory / "attention"),
            ModelCheckpoint(options.directory, filename="dates", enable_version_counter=False),
            TQDMProgressBar(refresh_rate=20),
        ],
        enable_model_summary=False,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
    )
    trainer.fit(model, data)
    steps = int(trainer.estimated_stepping_batches)
    if trainer.global_step < steps:
        print(
            f"\nseqlearn: warning: training was stopped after {options.max_minutes:g} minutes and "
            f"{trainer.global_step} of {steps} steps, because this machine is slow or busy; the "
            "model makes more errors than after all steps. To train longer: "
            f"seqlearn demo --max-minutes {4 * options.max_minutes:g}",
            file=sys.stderr,
        )
    (metrics,) = trainer.test(model, data, verbose=False)
    _show(model, data, options.directory, metrics["test/exact_match"])


def _show(model: Transformer, data: Dates, directory: Path, exact_match: float) -> None:
    """Print some translations, and plot the attention of the first one."""
    examples = list(data.examples("test"))
    sources = [str(source) for source, _ in examples[:SHOWN]]
    with record(model) as recording:
        outputs = model.generate(sources)
    print(f"\nExact match on {len(examples):,} dates of the test split: {exact_match:.1%}\n")
    for source, output, (_, target) in zip(sources, outputs, examples, strict=False):
        print(f"  {source}  →  {output}" + ("" if output == target else f"   (expected: {target})"))
    name = next(
        name for name in reversed(list(recording.attention)) if name.endswith("cross_attention")
    )
    picture = directory / "attention.png"
    with atomic_path(picture, "the picture", "--directory") as part:
        recording.plot(name, example=0).savefig(part, dpi=150, format="png")
    print(f"\nAttention for the first translation: {picture}")
    print(f"Attention during training:           {directory / 'attention'}")
    print(f"Checkpoint: {directory / 'dates.ckpt'}; translate more dates with")
    checkpoint = shlex.quote(str(directory / "dates.ckpt"))
    print(f"  echo {sources[-1]!r} | seqlearn translate {checkpoint}")


def _silence_lightning() -> None:
    """Hide Lightning's advice on workers and accelerators; the progress bar stays."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.pytorch")
