"""`seqlearn demo`: the main job in three minutes, on data that need no download."""

from __future__ import annotations

import argparse
import logging
import tempfile
import warnings
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar

from seqlearn.callbacks import AttentionMonitor
from seqlearn.core import Recipe
from seqlearn.data import Dates
from seqlearn.introspect import record
from seqlearn.models import Transformer

EPOCHS = 5
SHOWN = 5


def run_demo(argv: Sequence[str]) -> None:
    """Train a Transformer to translate written-out dates; show figures, answers and attention.

    Args:
        argv: The command line after `seqlearn demo`.

    Raises:
        OSError: If the folder for the results cannot be written; before anything is trained.
    """
    parser = argparse.ArgumentParser(
        prog="seqlearn demo",
        description="Train a Transformer to translate written-out dates from one language to "
        "another, then print its exact match on dates it never saw, some translations, and draw "
        "what it looked at.",
    )
    parser.add_argument("--source-locale", default="en", help="any locale of the CLDR (default en)")
    parser.add_argument("--target-locale", default="de", help="any locale of the CLDR (default de)")
    parser.add_argument("--directory", type=Path, default=Path("runs/demo"), help="for the results")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"default {EPOCHS}")
    parser.add_argument("--max-minutes", type=float, default=2.4, help="of training (default 2.4)")
    parser.add_argument("--seed", type=int, default=0, help="of data, weights and draws")
    options = parser.parse_args(argv)
    if options.epochs < 1 or options.max_minutes <= 0 or options.seed < 0:
        raise ValueError(
            "expected --epochs of at least 1, --max-minutes above 0 and --seed of 0 or more, got "
            f"{options.epochs}, {options.max_minutes} and {options.seed}"
        )
    require_writable(options.directory, "--directory")
    _quieten_lightning()

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
    (figures,) = trainer.test(model, data, verbose=False)
    _show(model, data, options.directory, figures["test/exact_match"])


def _show(model: Transformer, data: Dates, directory: Path, exact_match: float) -> None:
    examples = list(data.examples("test"))
    sources = [str(source) for source, _ in examples[:SHOWN]]
    with record(model) as recording:
        answers = model.generate(sources)
    print(f"\nExact match on {len(examples):,} dates it never saw: {exact_match:.1%}\n")
    for source, answer, (_, truth) in zip(sources, answers, examples, strict=False):
        print(f"  {source}  →  {answer}" + ("" if answer == truth else f"   (expected: {truth})"))
    name = next(
        name for name in reversed(list(recording.attention)) if name.endswith("cross_attention")
    )
    picture = directory / "attention.png"
    recording.plot(name, example=0).savefig(picture, dpi=150)
    print(f"\nWhat it looked at while it wrote the first one: {picture}")
    print(f"The same as training went on:                   {directory / 'attention'}")
    print(f"The model: {directory / 'dates.ckpt'}; translate more dates with")
    print(f"  echo {sources[-1]!r} | seqlearn translate {directory / 'dates.ckpt'}")


def require_writable(directory: Path, option: str) -> None:
    """Make a folder for results, and see that a file can be made in it.

    Args:
        directory: The folder.
        option: The command-line option that names another one.

    Raises:
        OSError: If it cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OSError(
            f"the results cannot be written to {directory} ({error.strerror}); "
            f"name another folder with {option}"
        ) from error


def _quieten_lightning() -> None:
    """Leave the progress bar and what the demo says; drop advice on workers and accelerators."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning.pytorch")
