"""`seqlearn fit|validate|test|predict`: a `LightningCLI`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import set_parsing_settings
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.strategies import SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_only

from seqlearn.atomic_files import require_writable
from seqlearn.callbacks import Interrupt, PredictionWriter
from seqlearn.cli.last_checkpoint import LastCheckpoint
from seqlearn.cli.parser import SequenceParser, check_config_files, expand_help
from seqlearn.cli.plugins import GROUPS, load_plugins
from seqlearn.cli.runs import resolve
from seqlearn.cli.saved_config import SaveConfig
from seqlearn.core import AtomicCheckpointIO, SequenceModule
from seqlearn.core import checkpoint as checkpoints
from seqlearn.data import SequenceDataModule
from seqlearn.spec import SequenceSpec
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

# The spec is passed from the data as one object; its fields are not options.
set_parsing_settings(subclasses_enabled=[SequenceSpec])

TRAINING = ("fit", "validate", "test", "predict")
"""The commands of a `LightningCLI`."""


class SequenceCLI(LightningCLI):
    """A `LightningCLI` that passes the data's spec to the model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the spec from the data to the model, and add the option `--unknown`."""
        parser.add_argument(
            "--unknown",
            choices=("mark", "error"),
            default="mark",
            help="how to treat validation and test examples with unknown tokens, if the training "
            "split has none: warn and name the first of them (the default), or stop",
        )
        parser.link_arguments("data.spec", "model.init_args.spec", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """Check that the results can be written, before any data is prepared."""
        folder = self.config[self.subcommand].trainer.default_root_dir
        require_writable(Path(folder or "."), "--trainer.default_root_dir")
        if self.config[self.subcommand].unknown == "error":
            warnings.simplefilter("error", UnknownSymbolWarning)
        self._find_checkpoint()

    def _find_checkpoint(self) -> None:
        """Resolve `--ckpt_path` to the path of a checkpoint, and check that it is readable.

        Raises:
            ValueError: If the command needs a checkpoint and none is given, or it is damaged.
            FileNotFoundError: If there is none.
        """
        config = self.config[self.subcommand]
        given = config.ckpt_path
        if given is None:
            if self.subcommand != "fit":
                raise ValueError(
                    f"{self.subcommand} needs a trained model; pass --ckpt_path PATH, or "
                    "--ckpt_path last for the newest run"
                )
            return
        trainer = config.trainer.as_dict()
        config.ckpt_path = path = resolve(str(self.subcommand), str(given), trainer)
        if path not in (None, "hpc"):
            checkpoints.read_checkpoint(str(path), map_location="meta")
        if path is None:
            print_once("Starting a new run: there is no checkpoint to continue from")
        elif path != given:
            fitting = self.subcommand == "fit"
            print_once(f"Continuing from {path}" if fitting else f"Checkpoint: {path}")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments of `main`."""
        check_config_files(args)
        self.config = parser.parse_args(expand_help(args))

    def _parse_ckpt_path(self) -> None:
        """Ignore the checkpoint's hyper-parameters: a file must not decide which class is built."""

    def instantiate_trainer(self, **arguments: Any) -> Trainer:
        """Make the Trainer, with `AtomicCheckpointIO` unless the user chose another plugin."""
        trainer = super().instantiate_trainer(**arguments)
        _check_processes(trainer)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()
        return trainer

    def fit(self, **arguments: Any) -> None:
        """Train, and print the path of the checkpoint, also after an error."""
        trainer: Any = self.trainer
        last = LastCheckpoint()
        trainer.callbacks.insert(0, last)
        if not any(isinstance(one, Interrupt) for one in trainer.callbacks):
            trainer.callbacks.append(Interrupt())
        try:
            trainer.fit(**arguments)
        finally:
            print_once(last.advice(trainer, tested=len(self.datamodule.dataset("test")) > 0))

    def before_predict(self) -> None:
        """Add the callback that gathers and writes the predictions, unless there is one."""
        trainer: Any = self.trainer
        if not any(isinstance(one, PredictionWriter) for one in trainer.callbacks):
            trainer.callbacks.append(PredictionWriter())

    def after_predict(self) -> None:
        """Print the number of predictions and their file."""
        trainer: Any = self.trainer
        for one in trainer.callbacks:
            if isinstance(one, PredictionWriter):
                print_once(f"{len(one.predictions)} predictions in {one.written}")


def _check_processes(trainer: Trainer) -> None:
    """Refuse a run in which each of torchrun's processes would train on its own."""
    if not TorchElasticEnvironment.detect():
        return
    started = TorchElasticEnvironment().world_size()
    if started > 1 and isinstance(trainer.strategy, SingleDeviceStrategy):
        here = os.environ.get("LOCAL_WORLD_SIZE", str(started))
        raise ValueError(
            f"torchrun started {started} processes, and each would run on its own, because the "
            f"Trainer uses one device; pass --trainer.devices {here} --trainer.strategy ddp"
        )


@rank_zero_only
def print_once(text: str) -> None:
    """Print a text, unless it is empty, on rank zero."""
    if text:
        print(text, flush=True)


def train(argv: Sequence[str]) -> None:
    """Run one of the commands of `TRAINING`.

    Raises:
        argparse.ArgumentError: If the arguments are wrong.
    """
    for group in GROUPS:  # an imported class is found by its name
        load_plugins(group, required=[word.rpartition("=")[2] for word in argv])
    raising = {"exit_on_error": False}  # `main` prints errors, in one line
    SequenceCLI(
        SequenceModule,
        SequenceDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        args=list(argv),
        parser_class=SequenceParser,
        seed_everything_default=0,
        save_config_callback=SaveConfig,
        parser_kwargs={"prog": "seqlearn", **raising, **dict.fromkeys(TRAINING, raising)},
    )
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # Otherwise threads of the group may still run when the interpreter exits, and abort it.
        torch.distributed.destroy_process_group()
