"""The command line.

`seqlearn fit|validate|test|predict|compare|translate|classify|generate|view|export|cache|demo`.

`predict` with a checkpoint as its first argument reads raw files. Without one, the first four are a
`LightningCLI`: every option of a model (`--model Transformer --model.d_model 64`), a data module
(`--data Dates`) and the Trainer, on the command line or in YAML files. A configuration file is
code: it may name any class that Python can import. Classes that other
packages register (`seqlearn.cli.plugins`) are available by name, like seqlearn's own.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from seqlearn.cli.cache import cache as manage_cache
from seqlearn.cli.compare import compare as compare_models
from seqlearn.cli.demo import run_demo
from seqlearn.cli.errors import format_error
from seqlearn.cli.export import export as write_export
from seqlearn.cli.inference import classify, generate, predict, translate, view
from seqlearn.cli.loading import load_module as load_module
from seqlearn.cli.training import TRAINING, train
from seqlearn.version import __version__

USAGE = """\
usage: seqlearn COMMAND …

  demo        train a Transformer on written-out dates, translate some, plot its attention
  fit         train a model:  seqlearn fit --model Transformer --data Dates --trainer.max_epochs 5
  validate    evaluate a checkpoint on the validation split
  test        evaluate a checkpoint on the test split
  predict     write predictions for the test split to a file; for raw inputs of any task:
              seqlearn predict model.ckpt inputs.csv --column NAME > predictions.txt
  compare     train several models on the same data and write a report
  translate   translate lines:  seqlearn translate model.ckpt < in.txt > out.txt
  classify    write the label of each line:  seqlearn classify model.ckpt < in.txt > labels.txt
  generate    continue each line with a language model:  seqlearn generate model.ckpt < prompts.txt
  view        write an HTML page that replays a prediction:  seqlearn view model.ckpt "TEXT"
  export      write a checkpoint for deployment:  seqlearn export model.ckpt --format onnx
  cache       list prepared data and downloads; `seqlearn cache prune` deletes old ones

`seqlearn COMMAND --help` describes a command; `seqlearn --version` prints the version.
Set SEQLEARN_TRACEBACK=1 to print the traceback of an error.
"""

COMMANDS = {
    "demo": run_demo,
    "compare": compare_models,
    "translate": translate,
    "classify": classify,
    "generate": generate,
    "view": view,
    "export": write_export,
    "cache": manage_cache,
}
"""The commands besides those of `LightningCLI`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The arguments after `seqlearn`; by default those of the process.

    Returns:
        The exit status: 0 on success, 2 after an error in the arguments, 1 after any other error,
        130 after Ctrl-C. An error is one line on standard error.

    Examples:
        >>> main(["frobnicate"])
        2
    """
    _write_utf8()
    argv = list(sys.argv[1:] if arguments is None else arguments)
    # The user's own modules are importable from the working directory.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        run(argv)
    except BrokenPipeError:
        # The reader has closed the pipe; nothing may be flushed to it any more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return stopped()
    except SystemExit as ended:
        # Lightning turns Ctrl-C into an exit with status 1 and ignores the signal afterwards.
        if not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return stopped()
    except Exception as error:  # noqa: BLE001 -- the outermost handler: one line for every error
        if os.environ.get("SEQLEARN_TRACEBACK"):
            traceback.print_exc()
        print(f"seqlearn: error: {format_error(error, argv)}", file=sys.stderr)
        return 2 if isinstance(error, argparse.ArgumentError) else 1
    return 0


def stopped() -> int:
    """Report that Ctrl-C ended the command; the exit status is 130, as a shell expects."""
    print("seqlearn: stopped", file=sys.stderr)
    return 130


def run(argv: Sequence[str]) -> None:
    """Run the command that the first argument names.

    Raises:
        argparse.ArgumentError: If there is no such command.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
    elif argv[0] == "--version":
        print(f"seqlearn {__version__}")
    elif argv[0] in COMMANDS:
        COMMANDS[argv[0]](argv[1:])
    elif argv[0] == "predict" and len(argv) > 1 and not argv[1].startswith("-"):
        predict(argv[1:])
    elif argv[0] in TRAINING or argv[0].startswith("-"):
        train(argv)
    else:
        names = ", ".join((*TRAINING, *COMMANDS))
        raise argparse.ArgumentError(None, f"expected a command ({names}), got {argv[0]!r}")


def _write_utf8() -> None:
    """Write UTF-8 to files and pipes on every system; a terminal keeps its encoding.

    Characters that a terminal cannot encode are written as escapes. `PYTHONIOENCODING` overrides
    all this.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and "PYTHONIOENCODING" not in os.environ:
            encoding = stream.encoding if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
