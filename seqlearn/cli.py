"""The command line: `seqlearn fit|validate|test|predict|translate|view|demo`.

The first four are a `LightningCLI`: every option of a model (`--model Transformer --model.d_model
64`), a data module (`--data Dates`) and the Trainer, on the command line or in YAML files. A
configuration file is code: it may name any class that Python can import. Classes that other
packages register (`seqlearn.plugins`) are called by their names, as seqlearn's own are.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import torch
from jsonargparse import set_parsing_settings
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from seqlearn.data import SequenceDataModule
from seqlearn.demo import require_writable, run_demo
from seqlearn.introspect import record
from seqlearn.models import SequenceModule
from seqlearn.models import checkpoint as checkpoints
from seqlearn.plugins import GROUPS, load_plugins, subclasses
from seqlearn.spec import ClassesSpec, SequenceSpec, VectorSpec

# The spec comes from the data as one object; its fields are no options.
set_parsing_settings(subclasses_enabled=[SequenceSpec])

OVERVIEW = """\
usage: seqlearn COMMAND …

  demo        train a Transformer on written-out dates, translate some, draw its attention
  fit         train a model:  seqlearn fit --model Transformer --data Dates --trainer.max_epochs 5
  validate    measure a checkpoint on the validation split
  test        measure a checkpoint on the test split
  predict     answer the test split's sources into a file
  translate   translate lines:  seqlearn translate model.ckpt < in.txt > out.txt
  view        write a page that plays back how a model answers:  seqlearn view model.ckpt TEXT

`seqlearn COMMAND --help` tells more. With SEQLEARN_TRACEBACK=1 errors show where they arose.
"""


class SequenceCLI(LightningCLI):
    """A `LightningCLI` that gives the data's spec to the model."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Link the spec from the data to the model."""
        parser.link_arguments("data.spec", "model.init_args.spec", apply_on="instantiate")

    def before_instantiate_classes(self) -> None:
        """See that the results can be written, before anything is prepared for them."""
        folder = self.config[self.subcommand].trainer.default_root_dir
        require_writable(Path(folder or "."), "--trainer.default_root_dir")
        checkpoint = self.config[self.subcommand].ckpt_path
        if self.subcommand != "fit":
            if checkpoint is None:
                raise ValueError(
                    f"{self.subcommand} needs a trained model; name it with --ckpt_path"
                )
            checkpoints.read(checkpoint, map_location="meta")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the words that `main` was given."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Take nothing from a checkpoint here: which class is built is not the file's to say."""

    def before_predict(self) -> None:
        """Have the answers written, by rank zero, while all ranks are there."""
        trainer: Any = self.trainer
        trainer.callbacks.append(PredictionWriter())


class PredictionWriter(Callback):
    """Writes what `predict` answers to `predictions.txt` beside the logs, in the data's order."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []

    def on_predict_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
        """Keep the answers of a batch."""
        self.batches.append(list(outputs))

    def on_predict_epoch_end(self, trainer: Any, module: Any) -> None:
        """Gather the answers of all ranks, to whom the batches were dealt in turn, and write."""
        ranks: list[Any] = [self.batches]
        if trainer.world_size > 1:
            ranks = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, self.batches)
        folder = trainer.log_dir or trainer.default_root_dir  # all ranks must ask for it
        if trainer.is_global_zero:
            turns = itertools.zip_longest(*ranks, fillvalue=[])
            answers = [answer for turn in turns for batch in turn for answer in batch]
            path = Path(folder) / "predictions.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            text = "".join(f"{_one_line(answer)}\n" for answer in answers)
            path.write_text(text, encoding="utf-8")
            print(f"{len(answers)} answers in {path}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after `seqlearn`; those of the process by default.

    Returns:
        The exit status: 0, or 1 after an error, which is one line on standard error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # A module of the user's own is named as Python would find it from here.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        run(words)
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing may be flushed to it any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("seqlearn: stopped", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 -- the last stop: every error becomes one line
        if os.environ.get("SEQLEARN_TRACEBACK"):
            traceback.print_exc()
        print(f"seqlearn: error: {_message(error)}", file=sys.stderr)
        return 1
    return 0


def _message(error: BaseException) -> str:
    """What an error says, on one line."""
    # jsonargparse wraps what a constructor says in a list of all types that it tried.
    while error.__cause__ is not None and str(error).startswith("Does not validate against any"):
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def run(words: Sequence[str]) -> None:
    """Run the command that these words say."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(OVERVIEW, end="")
    elif words[0] == "demo":
        run_demo(words[1:])
    elif words[0] == "translate":
        translate(words[1:])
    elif words[0] == "view":
        view(words[1:])
    else:
        for group in GROUPS:  # an imported class is found by its name
            load_plugins(group, asked=[word.rpartition("=")[2] for word in words])
        SequenceCLI(
            SequenceModule,
            SequenceDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            args=list(words),
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
        )


def translate(words: Sequence[str]) -> None:
    """Answer each line of a file, or of standard input, with one line on standard output."""
    parser = argparse.ArgumentParser(
        prog="seqlearn translate",
        description="Translate lines, in order: one line out for each line in; an empty line "
        "stays empty.",
    )
    parser.add_argument("checkpoint", help="a checkpoint of a seqlearn module")
    parser.add_argument("file", nargs="?", help="UTF-8 text; standard input if left out")
    parser.add_argument(
        "--model",
        help="the class of the checkpoint, if it is one of your own: package.module.Class",
    )
    parser.add_argument("--max-length", type=int, help="tokens to make at most for a line")
    options = parser.parse_args(words)
    module = load_checkpoint(options.checkpoint, options.model)
    name = options.file or "standard input"
    with open(options.file, "rb") if options.file else sys.stdin.buffer as stream:
        at_once = 1 if stream.isatty() else 512
        numbered = enumerate(read_lines(stream, name), 1)
        while lines := list(itertools.islice(numbered, at_once)):
            asked = [(number, line) for number, line in lines if line]
            try:
                made = module.generate([line for _, line in asked], max_length=options.max_length)
            except ValueError:
                _blame_line(module, asked, name)
                raise
            answers = dict(zip((number for number, _ in asked), made, strict=True))
            for number, _ in lines:
                sys.stdout.write(f"{_one_line(answers.get(number, ''))}\n")
            sys.stdout.flush()


def view(words: Sequence[str]) -> None:
    """Let a model answer texts, and write a page that plays back how it did."""
    parser = argparse.ArgumentParser(
        prog="seqlearn view",
        description="Write a page, one file that needs no network, that shows what a model did "
        "with a text: attention, states and gates, step by step.",
    )
    parser.add_argument("checkpoint", help="a checkpoint of a seqlearn module")
    parser.add_argument("text", nargs="+", help="a source; of a language model a beginning")
    parser.add_argument("--out", default="view.html", help="the page; %(default)s by default")
    parser.add_argument(
        "--model",
        help="the class of the checkpoint, if it is one of your own: package.module.Class",
    )
    parser.add_argument("--max-length", type=int, help="tokens to make at most for a text")
    options = parser.parse_args(words)
    require_writable(Path(options.out).absolute().parent, "--out")
    module = load_checkpoint(options.checkpoint, options.model)
    source, target = module.spec.source, module.spec.target
    if isinstance(source, VectorSpec) or isinstance(target, VectorSpec):
        raise ValueError(  # noqa: TRY004 -- the model is of the wrong kind, not the argument
            f"seqlearn view shows models of texts, and {options.checkpoint} reads or answers "
            "vectors; use sl.record(model) and recording.to_html(path)"
        )
    with record(module) as recording:
        if isinstance(target, ClassesSpec):
            answers, _ = module.classify(options.text)
        elif source is None:
            answers = module.generate(prompts=options.text, max_length=options.max_length)
        else:
            answers = module.generate(options.text, max_length=options.max_length)
    for text, answer in zip(options.text, answers, strict=True):
        print(f"{_one_line(text)}  →  {_one_line(answer)}")
    title = f"{type(module).__name__}: {options.text[0]}"
    print(f"How it did that: {recording.to_html(options.out, title=title)}")


def read_lines(stream: IO[bytes], name: str) -> Iterator[str]:
    """The lines of a stream of UTF-8, split at line feeds alone.

    Raises:
        ValueError: If a line is not UTF-8; the message names file, line and byte.
    """
    for number, line in enumerate(stream, 1):
        try:
            # A mark at the start of the file says that it is UTF-8, and is no text.
            yield line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}, line {number}: expected UTF-8, got the byte {line[error.start]:#04x} at "
                f"byte {error.start + 1} of the line; convert the text to UTF-8"
            ) from error


def load_checkpoint(path: str, name: str | None = None) -> SequenceModule:
    """Build the module of a checkpoint, of whichever class it is.

    Args:
        path: The checkpoint.
        name: `package.module.Class` of a class outside seqlearn, or the short name of one that its
            package registers. A checkpoint's own word is never enough to import something.

    Raises:
        ValueError: If the class is not known here; the message says how to name it.
    """
    if name is not None and "." in name:
        module, _, attribute = name.rpartition(".")
        named = getattr(importlib.import_module(module), attribute, None)
        if not (isinstance(named, type) and issubclass(named, SequenceModule)):
            raise ValueError(f"expected --model package.module.Class of a SequenceModule: {name}")
        return named.load_from_checkpoint(path, map_location="cpu")
    wanted = checkpoints.read(path, map_location="meta")[checkpoints.KEY]["class"]
    if name is not None and name != wanted.rpartition(".")[2]:
        raise ValueError(f"{path} holds a {wanted}, got --model {name}; leave --model out")
    cls = _known(wanted)
    if cls is None:
        load_plugins("seqlearn.models")
        cls = _known(wanted)
    if cls is None:
        raise ValueError(f"{path} holds a {wanted}; name its class with --model {wanted}")
    return cls.load_from_checkpoint(path, map_location="cpu")


def _known(name: str) -> type[SequenceModule] | None:
    """The imported class that a checkpoint knows by this name."""
    classes = subclasses(SequenceModule)
    return next((cls for cls in classes if checkpoints.class_name(cls) == name), None)


def _blame_line(module: SequenceModule, asked: Iterable[tuple[int, str]], name: str) -> None:
    """Raise for the first line that the model cannot read, with its number."""
    encode = getattr(module.spec.source, "encode", None)
    if encode is None:
        return
    for number, line in asked:
        encode([line], what=f"{name}, line {number}: text")


def _one_line(answer: Any) -> str:
    """An answer as one line: ids with spaces between, line breaks as spaces."""
    text = answer if isinstance(answer, str) else " ".join(map(str, _items(answer)))
    return text.replace("\r\n", " ").replace("\n", " ")


def _items(answer: Any) -> list[Any]:
    return answer.tolist() if hasattr(answer, "tolist") else list(answer)
