"""`seqlearn translate` and `seqlearn view`: ask a checkpoint."""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from seqlearn.cli.demo import require_writable
from seqlearn.cli.loading import load_checkpoint
from seqlearn.introspect import record
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

LINES_NAMED = 20
"""How many lines with unknown symbols a message names."""


def translate(argv: Sequence[str]) -> None:
    """Answer each line of a file, or of standard input, with one line on standard output."""
    parser = _parser(
        "translate",
        "Translate lines, in order: one line out for each line in; an empty line stays empty.",
    )
    parser.add_argument("file", nargs="?", help="UTF-8 text; standard input if left out")
    parser.add_argument(
        "--unknown",
        choices=("mark", "error"),
        default="mark",
        help="what to do with a line that holds a symbol outside the vocabulary: read it as "
        "unknown and name the line at the end (the default), or stop",
    )
    options = parser.parse_args(argv)
    module = load_checkpoint(options.checkpoint, options.model)
    name = options.file or "standard input"
    with open(options.file, "rb") if options.file else sys.stdin.buffer as stream:
        at_once = 1 if stream.isatty() else 512
        numbered = enumerate(read_lines(stream, name), 1)
        unknown = UnknownLines(module.spec.source, name, refuse=options.unknown == "error")
        while lines := list(itertools.islice(numbered, at_once)):
            asked = [(number, line) for number, line in lines if line]
            unknown.check(asked)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UnknownSymbolWarning)  # the lines are named below
                made = module.generate(
                    [line for _, line in asked], max_new_tokens=options.max_new_tokens
                )
            answers = dict(zip((number for number, _ in asked), made, strict=True))
            for number, _ in lines:
                sys.stdout.write(f"{to_single_line(answers.get(number, ''))}\n")
            sys.stdout.flush()
        unknown.report()


def view(argv: Sequence[str]) -> None:
    """Let a model answer texts, and write a page that plays back how it did."""
    parser = _parser(
        "view",
        "Write a page, one file that needs no network, that shows what a model did with a text: "
        "attention, states and gates, step by step.",
    )
    parser.add_argument(
        "text", nargs="+", help="one text, in quotes: a source; of a language model a beginning"
    )
    parser.add_argument("--out", default="view.html", help="the page; %(default)s by default")
    options = parser.parse_args(argv)
    if len(options.text) > 1:
        quoted = shlex.join(["seqlearn", "view", options.checkpoint, " ".join(options.text)])
        raise argparse.ArgumentError(
            None, f"expected one text, got {len(options.text)} arguments; quote it: {quoted}"
        )
    require_writable(Path(options.out).absolute().parent, "--out")
    module = load_checkpoint(options.checkpoint, options.model)
    source, target = module.spec.source, module.spec.target
    if (source is not None and not source.is_sequence) or not target.methods:
        raise ValueError(
            f"seqlearn view shows models of texts, and {options.checkpoint} reads or answers "
            "vectors; use sl.record(model) and recording.to_html(path)"
        )
    with record(module) as recording:
        if "classify" in target.methods:
            answers, _ = module.classify(options.text)
        elif source is None:
            answers = module.generate(prompts=options.text, max_new_tokens=options.max_new_tokens)
        else:
            answers = module.generate(options.text, max_new_tokens=options.max_new_tokens)
    for text, answer in zip(options.text, answers, strict=True):
        print(f"{to_single_line(text)}  →  {to_single_line(answer)}")
    title = f"{type(module).__name__}: {options.text[0]}"
    print(f"How it did that: {recording.to_html(options.out, title=title)}")


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    """What every command that asks a checkpoint takes."""
    parser = argparse.ArgumentParser(prog=f"seqlearn {command}", description=description)
    parser.add_argument("checkpoint", help="a checkpoint of a seqlearn module")
    parser.add_argument(
        "--model",
        help="the class of the checkpoint, if it is one of your own: package.module.Class",
    )
    parser.add_argument("--max-new-tokens", type=int, help="tokens to make at most for an answer")
    return parser


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


class UnknownLines:
    """The lines of a file that hold symbols outside a model's vocabulary.

    Args:
        source: The side that reads the lines; anything but text has no vocabulary.
        name: Of the file.
        refuse: Whether such a line is an error.
    """

    def __init__(self, source: object, name: str, *, refuse: bool) -> None:
        self._unknown_symbols = getattr(source, "unknown_symbols", None)
        self._name, self._refuse = name, refuse
        self._found: list[str] = []

    def check(self, lines: Iterable[tuple[int, str]]) -> None:
        """Look through numbered lines.

        Raises:
            ValueError: If a line cannot be read at all or, with `refuse`, holds such a symbol; the
                message names file, line and symbol.
        """
        if self._unknown_symbols is None:
            return
        for number, line in lines:
            try:
                symbols = self._unknown_symbols(line)
            except ValueError as error:
                raise ValueError(f"{self._name}, line {number}: {error}") from error
            if symbols and self._refuse:
                raise ValueError(
                    f"{self._name}, line {number}: {symbols[0]} is not in the model's vocabulary; "
                    "remove or replace it, or pass --unknown mark to read it as unknown"
                )
            if symbols:
                self._found.append(f"line {number}: {symbols[0]}")

    def report(self) -> None:
        """Name the lines on standard error, if there are any."""
        if not self._found:
            return
        named = "; ".join(self._found[:LINES_NAMED])
        left = len(self._found) - LINES_NAMED
        more = f"; and {left} more" if left > 0 else ""
        print(
            f"seqlearn: warning: {self._name}: symbols outside the model's vocabulary were read as "
            f"unknown in {len(self._found)} {'line' if len(self._found) == 1 else 'lines'} "
            f"({named}{more}); pass --unknown error to refuse them",
            file=sys.stderr,
        )


def to_single_line(answer: Any) -> str:
    """An answer as one line: ids with spaces between, line breaks as spaces."""
    text = answer if isinstance(answer, str) else " ".join(map(str, _items(answer)))
    return text.replace("\r\n", " ").replace("\n", " ")


def _items(answer: Any) -> list[Any]:
    return answer.tolist() if hasattr(answer, "tolist") else list(answer)
