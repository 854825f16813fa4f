"""The command line: `seqlearn fit|validate|test|predict|translate|view|demo`.

The first four are a `LightningCLI`: every option of a model (`--model Transformer --model.d_model
64`), a data module (`--data Dates`) and the Trainer, on the command line or in YAML files. A
configuration file is code: it may name any class that Python can import. Classes that other
packages register (`seqlearn.cli.plugins`) are called by their names, as seqlearn's own are.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from seqlearn.cli.demo import run_demo
from seqlearn.cli.errors import format_error
from seqlearn.cli.inference import translate, view
from seqlearn.cli.loading import load_checkpoint as load_checkpoint
from seqlearn.cli.training import TRAINING, train
from seqlearn.version import __version__

USAGE = """\
usage: seqlearn COMMAND …

  demo        train a Transformer on written-out dates, translate some, draw its attention
  fit         train a model:  seqlearn fit --model Transformer --data Dates --trainer.max_epochs 5
  validate    measure a checkpoint on the validation split
  test        measure a checkpoint on the test split
  predict     answer the test split's sources into a file
  translate   translate lines:  seqlearn translate model.ckpt < in.txt > out.txt
  view        write a page that plays back how a model answers:  seqlearn view model.ckpt "TEXT"

`seqlearn COMMAND --help` tells more, and `seqlearn --version` prints the version.
With SEQLEARN_TRACEBACK=1 errors show where they arose.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after `seqlearn`; those of the process by default.

    Returns:
        The exit status, which is 0; or after an error (one line on standard error) 2 if the words
        are at fault, and 1 otherwise.
    """
    _write_utf8()
    argv = list(sys.argv[1:] if arguments is None else arguments)
    # A module of the user's own is named as Python would find it from here.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        run(argv)
    except BrokenPipeError:
        # Whoever read the output has seen enough; nothing may be flushed to it any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return stopped()
    except SystemExit as ended:
        # Lightning turns Ctrl-C into an exit with status 1, and ignores the signal from then on.
        if not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return stopped()
    except Exception as error:  # noqa: BLE001 -- the last stop: every error becomes one line
        if os.environ.get("SEQLEARN_TRACEBACK"):
            traceback.print_exc()
        print(f"seqlearn: error: {format_error(error, argv)}", file=sys.stderr)
        return 2 if isinstance(error, argparse.ArgumentError) else 1
    return 0


def stopped() -> int:
    """Say that Ctrl-C ended the command; its exit status is 130, as a shell expects."""
    print("seqlearn: stopped", file=sys.stderr)
    return 130


def run(argv: Sequence[str]) -> None:
    """Run the command that these words say.

    Raises:
        argparse.ArgumentError: If there is no such command.
    """
    commands = {"demo": run_demo, "translate": translate, "view": view}
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
    elif argv[0] == "--version":
        print(f"seqlearn {__version__}")
    elif argv[0] in commands:
        commands[argv[0]](argv[1:])
    elif argv[0] in TRAINING or argv[0].startswith("-"):
        train(argv)
    else:
        names = ", ".join((*TRAINING, *commands))
        raise argparse.ArgumentError(None, f"expected a command ({names}), got {argv[0]!r}")


def _write_utf8() -> None:
    """Write UTF-8 to files and pipes on every system; a terminal keeps its encoding.

    What a terminal cannot show stands there as an escape. `PYTHONIOENCODING` decides if it is set.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and "PYTHONIOENCODING" not in os.environ:
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
