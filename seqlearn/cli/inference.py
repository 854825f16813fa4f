"""`seqlearn translate`, `classify`, `generate` and `view`: run a checkpoint on texts."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from tqdm import tqdm

from seqlearn.atomic_files import require_writable
from seqlearn.callbacks.prediction_writer import to_single_line
from seqlearn.cli.answers import Chunk, Request, Task, check_task
from seqlearn.cli.decoding_options import add_decoding_options, decoding_options
from seqlearn.cli.devices import answer_in_order, devices_of
from seqlearn.cli.loading import SAVED, load_module
from seqlearn.introspect import record

CHUNK_LINES = 256
"""Number of lines that are answered together."""

LONGEST_LINE = 2**24
"""Most bytes of a line."""

LINES_NAMED = 20
"""Number of lines with unknown symbols that a message names."""


def translate(argv: Sequence[str]) -> None:
    """Translate each line of a file, or of standard input, to one line on standard output."""
    parser = _parser(
        "translate",
        "Translate lines, in order: one line out for each line in; an empty line stays empty. "
        "Several translations of a line are separated by tabs.",
    )
    _add_lines_options(parser)
    _add_text_options(parser)
    _answer_lines(parser.parse_args(argv), "translate")


def classify(argv: Sequence[str]) -> None:
    """Write the label of each line of a file, or of standard input, to standard output."""
    parser = _parser(
        "classify",
        "Classify lines, in order: one label out for each line in; an empty line stays empty.",
    )
    _add_lines_options(parser)
    parser.add_argument(
        "--probabilities",
        dest="details",
        action="store_true",
        help="write all labels, the most probable one first, each after its probability",
    )
    _answer_lines(parser.parse_args(argv), "classify")


def generate(argv: Sequence[str]) -> None:
    """Continue each line of a file, or of standard input, with a language model."""
    parser = _parser(
        "generate",
        "Continue prompts with a language model: one line out for each line in, with its prompt; "
        "an empty line stays empty. Several texts for a prompt are separated by tabs.",
    )
    _add_lines_options(parser)
    _add_text_options(parser)
    _answer_lines(parser.parse_args(argv), "generate")


def _add_lines_options(parser: argparse.ArgumentParser) -> None:
    """The options of the commands that answer line by line."""
    parser.add_argument("file", nargs="?", help="UTF-8 text; standard input if left out")
    parser.add_argument(
        "--output",
        choices=("text", "json"),
        default="text",
        help="lines of text (the default), or JSON objects with the input and the answer",
    )
    parser.add_argument(
        "--unknown",
        choices=("mark", "error"),
        default="mark",
        help="how to treat a line with a symbol outside the vocabulary: encode the symbol as "
        "unknown and name the line at the end (the default), or stop",
    )
    parser.add_argument(
        "--accelerator",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="where the model runs; auto takes a GPU if there is one (the default)",
    )
    parser.add_argument(
        "--devices",
        type=int,
        default=1,
        help="number of GPUs (of processes on the CPU); each answers a share of the lines",
    )


def _add_text_options(parser: argparse.ArgumentParser) -> None:
    """The options of the commands that generate texts."""
    add_decoding_options(parser)
    parser.add_argument(
        "--num-return-sequences", type=int, default=1, help="texts for each line, best first"
    )
    parser.add_argument(
        "--scores",
        dest="details",
        action="store_true",
        help="write the log-probability (in nats) of each text before it",
    )


def _answer_lines(options: argparse.Namespace, task: Task) -> None:
    """Answer each line of the input, in order."""
    devices = devices_of(options.accelerator, options.devices)
    module = load_module(options.checkpoint, options.model)
    generating = {}
    if task != "classify":
        generating = decoding_options(options)
        if options.num_return_sequences != 1:
            generating["num_return_sequences"] = options.num_return_sequences
    request = Request(
        options.checkpoint, options.model, generating, task, options.output, options.details
    )
    check_task(module, request)
    name = options.file or "standard input"
    with open(options.file, "rb") if options.file else sys.stdin.buffer as stream:
        side = module.spec.target if task == "generate" else module.spec.source
        unknown = UnknownLines(side, name, error=options.unknown == "error")
        interactive = stream.isatty()
        chunks = _chunks(read_lines(stream, name), 1 if interactive else CHUNK_LINES, unknown)
        used = devices[:1] if interactive else devices
        # Where the answers go to a terminal, they show the progress themselves.
        hidden = True if interactive or sys.stdout.isatty() else None
        with (
            contextlib.closing(answer_in_order(request, module, chunks, used)) as answers,
            tqdm(desc=task, unit=" lines", unit_scale=True, delay=1.0, disable=hidden) as bar,
        ):
            for lines in answers:
                sys.stdout.writelines(f"{line}\n" for line in lines)
                sys.stdout.flush()
                bar.update(len(lines))
        unknown.report()


def _chunks(lines: Iterator[str], size: int, unknown: UnknownLines) -> Iterator[Chunk]:
    """Lines in chunks, each checked for unknown symbols when it is read."""
    first = 1
    for number in itertools.count():
        chunk = Chunk(number, first, list(itertools.islice(lines, size)))
        if not chunk.lines:
            return
        numbered = enumerate(chunk.lines, first)
        unknown.check((line_number, line) for line_number, line in numbered if line)
        yield chunk
        first += len(chunk.lines)


def view(argv: Sequence[str]) -> None:
    """Record a prediction, and write an HTML page that replays it."""
    parser = _parser(
        "view",
        "Write an HTML page, one file that needs no network, that shows how a model processes a "
        "text: attention, states and gates, step by step.",
    )
    parser.add_argument(
        "text", nargs="+", help="one text, in quotes: a source, or the prompt of a language model"
    )
    parser.add_argument("--out", default="view.html", help="path of the page (%(default)s)")
    add_decoding_options(parser)
    options = parser.parse_args(argv)
    if len(options.text) > 1:
        quoted = shlex.join(["seqlearn", "view", options.checkpoint, " ".join(options.text)])
        raise argparse.ArgumentError(
            None, f"expected one text, got {len(options.text)} arguments; quote it: {quoted}"
        )
    require_writable(Path(options.out).absolute().parent, "--out")
    module = load_module(options.checkpoint, options.model)
    source, target = module.spec.source, module.spec.target
    if source is not None and not source.is_sequence:
        raise ValueError(
            f"seqlearn view supports sources that are texts, but {options.checkpoint} has another "
            "source; use sl.record(model) and recording.to_html(path)"
        )
    with record(module) as recording:
        if source is None:
            outputs = module.generate(prompts=options.text, **decoding_options(options))
        elif target.needs_decoder:
            outputs = module.generate(options.text, **decoding_options(options))
        else:
            outputs = module.predict(options.text)
    for text, output in zip(options.text, outputs, strict=True):
        print(f"{to_single_line(text)}  →  {to_single_line(target.describe(output))}")
    title = f"{type(module).__name__}: {options.text[0]}"
    print(f"Page: {recording.to_html(options.out, title=title)}")


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    """The arguments that every command on a checkpoint has."""
    parser = argparse.ArgumentParser(prog=f"seqlearn {command}", description=description)
    parser.add_argument("checkpoint", help=SAVED)
    parser.add_argument(
        "--model",
        help="the class of the module, if it is your own: package.module.Class",
    )
    return parser


def read_lines(stream: IO[bytes], name: str) -> Iterator[str]:
    """The lines of a stream of UTF-8, split at line feeds alone.

    Raises:
        ValueError: If a line is not UTF-8, or has no end within 16 MiB; the message names file and
            line.
    """
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), 1):
        if len(line) > LONGEST_LINE:
            raise ValueError(
                f"{name}, line {number}: expected lines of at most {LONGEST_LINE >> 20} MiB, got "
                "a longer one; the input must be text, one example on each line"
            )
        try:
            # A byte order mark at the start of the file is not part of the text.
            yield line.rstrip(b"\r\n").decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}, line {number}: expected UTF-8, got the byte {line[error.start]:#04x} at "
                f"byte {error.start + 1} of the line; convert the text to UTF-8"
            ) from error


class UnknownLines:
    """Collects the lines of a file that have symbols outside a model's vocabulary.

    Args:
        source: The spec of the model's source; one without `unknown_symbols` has no vocabulary.
        name: Name of the file.
        error: Whether such a line is an error.
    """

    def __init__(self, source: object, name: str, *, error: bool) -> None:
        self._unknown_symbols = getattr(source, "unknown_symbols", None)
        self._name, self._error = name, error
        self._found: list[str] = []

    def check(self, lines: Iterable[tuple[int, str]]) -> None:
        """Check numbered lines.

        Raises:
            ValueError: If a line cannot be encoded or, with `error`, has such a symbol; the message
                names file, line and symbol.
        """
        if self._unknown_symbols is None:
            return
        for number, line in lines:
            try:
                symbols = self._unknown_symbols(line)
            except ValueError as error:
                raise ValueError(f"{self._name}, line {number}: {error}") from error
            if symbols and self._error:
                raise ValueError(
                    f"{self._name}, line {number}: {symbols[0]} is not in the model's vocabulary; "
                    "remove or replace it, or pass --unknown mark to encode it as unknown"
                )
            if symbols:
                self._found.append(f"line {number}: {symbols[0]}")

    def report(self) -> None:
        """Print the lines, if any, to standard error."""
        if not self._found:
            return
        named = "; ".join(self._found[:LINES_NAMED])
        left = len(self._found) - LINES_NAMED
        more = f"; and {left} more" if left > 0 else ""
        print(
            f"seqlearn: warning: {self._name}: symbols outside the model's vocabulary were encoded "
            f"as unknown in {len(self._found)} {'line' if len(self._found) == 1 else 'lines'} "
            f"({named}{more}); pass --unknown error to stop at the first",
            file=sys.stderr,
        )
