"""`seqlearn translate`, `classify`, `generate`, `predict` and `view`: run a checkpoint."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from seqlearn.atomic_files import require_writable
from seqlearn.callbacks.prediction_writer import to_single_line
from seqlearn.cli.answers import Chunk, Request, Task, check_task, unused_decoding
from seqlearn.cli.arguments import ArgumentParser
from seqlearn.cli.decoding_options import add_decoding_options, check_decoding, decoding_options
from seqlearn.cli.devices import answer_in_order, devices_of
from seqlearn.cli.inputs import InputOptions, Item, kind_of, open_input, read_items
from seqlearn.cli.loading import SAVED, load_module
from seqlearn.core.inference_precision import InferencePrecision
from seqlearn.introspect import DETAILED, record
from seqlearn.spec import AlignedSpec

CHUNK_LINES = 256
"""Number of lines that are answered together."""

MOST_SEEDS = 2**31
"""Number of values of `--seed`."""

LINES_NAMED = 20
"""Number of lines with unknown symbols that a message names."""


def translate(argv: Sequence[str]) -> None:
    """Translate each line of a file, or of standard input, to one line on standard output."""
    parser = _parser(
        "translate",
        "Translate lines, in order: one line out for each line in; an empty line stays empty. "
        "Several translations of a line are separated by tabs.",
    )
    _add_input_options(parser)
    _add_text_options(parser)
    _answer_inputs(parser.parse_args(argv), "translate")


def classify(argv: Sequence[str]) -> None:
    """Write the label of each line of a file, or of standard input, to standard output."""
    parser = _parser(
        "classify",
        "Classify lines, in order: one label out for each line in; an empty line stays empty. Of a "
        "model with any number of labels, those that apply are separated by tabs.",
    )
    _add_input_options(parser)
    _add_class_options(parser)
    _answer_inputs(parser.parse_args(argv), "classify")


def generate(argv: Sequence[str]) -> None:
    """Continue each line of a file, or of standard input, with a language model."""
    parser = _parser(
        "generate",
        "Continue prompts with a language model: one line out for each line in, with its prompt; "
        "an empty line stays empty. Several texts for a prompt are separated by tabs.",
    )
    _add_input_options(parser)
    _add_text_options(parser)
    _answer_inputs(parser.parse_args(argv), "generate")


def predict(argv: Sequence[str]) -> None:
    """Write the prediction for each input of a file, or of standard input, of any task."""
    parser = _parser(
        "predict",
        "Predict from inputs without targets, in order: one line out for each input; of tags, a "
        "label for each word (or character), separated by spaces. Texts are lines, or a --column "
        "of CSV, TSV or JSON Lines; vectors are lines of numbers, or rows of a .npy file; series "
        "are the arrays of a .npz or .npy file, or tables (CSV, TSV, parquet) with a row for each "
        "time step. With --data instead of a checkpoint, predict is a command "
        "of LightningCLI (seqlearn predict --help).",
    )
    _add_input_options(parser)
    parser.add_argument(
        "--id-column", help="of a table of series: which series a row is of; id by default"
    )
    parser.add_argument(
        "--time-column",
        help="of a table of series: the times, in increasing order, time by default; '' if there "
        "is no such column",
    )
    _add_text_options(parser)
    _add_class_options(parser)
    _answer_inputs(parser.parse_args(argv), "predict")


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    """The options of the commands that answer input by input."""
    parser.add_argument("file", nargs="?", help="UTF-8 text; standard input if left out")
    parser.add_argument(
        "--format",
        choices=("lines", "csv", "tsv", "jsonl"),
        help="the format; by default that of the file's suffix, and lines of standard input",
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        help="the name of the column of texts (the first line is then a header), or its number "
        "from 1; for vectors and series a column of numbers, repeated for each",
    )
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
    parser.add_argument("--device", help="where the model runs, such as cpu, cuda:1 or mps")
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
        help="number of GPUs (of processes on the CPU); each answers a share of the inputs",
    )
    parser.add_argument(
        "--precision",
        choices=get_args(InferencePrecision),
        help="compute in bf16, or with weights of eight bits (on the CPU), which is faster; texts "
        "may differ slightly",
    )
    parser.add_argument(
        "--batch-tokens",
        type=int,
        help="most tokens of a batch, padding included; fewer need less memory",
    )


def _add_text_options(parser: argparse.ArgumentParser) -> None:
    """The options of the commands that generate texts."""
    add_decoding_options(parser)
    parser.add_argument(
        "--num-return-sequences", type=int, default=1, help="texts for each line, best first"
    )
    parser.add_argument(
        "--seed", type=int, help="sample: another seed draws other texts (default: 0)"
    )
    parser.add_argument(
        "--scores",
        dest="details",
        action="store_true",
        help="write the log-probability (in nats) of each text before it",
    )


def _add_class_options(parser: argparse.ArgumentParser) -> None:
    """The options of the commands that predict classes."""
    parser.add_argument(
        "--probabilities",
        dest="details",
        action="store_true",
        help="write all labels, the most probable one first, each after its probability",
    )


def _answer_inputs(options: argparse.Namespace, task: Task) -> None:
    """Answer each input, in order."""
    devices = devices_of(options.accelerator, options.devices, options.device)
    if options.batch_tokens is not None and options.batch_tokens < 1:
        raise ValueError(f"--batch-tokens: expected at least 1, got {options.batch_tokens}")
    module = load_module(options.checkpoint, options.model)
    if options.precision == "int8" and devices[0].type != "cpu":
        raise ValueError(f"--precision int8 is for the CPU, not {devices[0]}; use bf16")
    if options.precision is not None:
        module = module.to(devices[0]).for_inference(options.precision)
    generating = {}
    if task != "classify":
        generating = decoding_options(options)
    request = Request(
        options.checkpoint,
        options.model,
        generating,
        task,
        options.output,
        options.details,
        options.batch_tokens,
        getattr(options, "seed", None) or 0,
        options.precision,
    )
    check_task(module, request)
    target = module.spec.target
    if target.needs_decoder:
        check_decoding(module.generation, generating)
        _check_seed(options.seed, generating.get("strategy", module.generation.strategy))
    elif getattr(options, "seed", None) is not None:
        raise ValueError(f"--seed is for texts that are drawn; {options.checkpoint} draws none")
    unit = target.unit if isinstance(target, AlignedSpec) else "word"
    inputs = InputOptions(options.file, options.format, tuple(options.column), unit=unit)
    if task == "predict":
        inputs = replace(inputs, id_column=options.id_column, time_column=options.time_column)
    side: Any = module.spec.target if module.spec.source is None else module.spec.source
    with open_input(inputs) as stream:
        unknown = UnknownSymbols(side, inputs.name, error=options.unknown == "error")
        interactive = stream.isatty()
        items = unknown.check(read_items(inputs, side, stream))
        chunks = _chunks(items, 1 if interactive else CHUNK_LINES)
        used = devices[:1] if interactive else devices
        # Where the answers go to a terminal, they show the progress themselves.
        hidden = True if interactive or sys.stdout.isatty() else None
        try:
            with (
                contextlib.closing(answer_in_order(request, module, chunks, used)) as answers,
                tqdm(desc=task, unit=" lines", unit_scale=True, delay=1.0, disable=hidden) as bar,
            ):
                for lines in answers:
                    sys.stdout.writelines(f"{line}\n" for line in lines)
                    sys.stdout.flush()
                    bar.update(len(lines))
        finally:
            unknown.report()


def _check_seed(seed: int | None, strategy: str) -> None:
    if seed is not None and strategy != "sample":
        raise ValueError(f"--decoding {strategy} does not use --seed; leave it out")
    if seed is not None and not 0 <= seed < MOST_SEEDS:
        raise ValueError(f"--seed: expected 0 to {MOST_SEEDS - 1}, got {seed}")


def _chunks(items: Iterator[Item], size: int) -> Iterator[Chunk]:
    """Inputs in chunks, read as they are needed; those before a bad input are answered first."""
    for number in itertools.count():
        chunk, error = Chunk(number, []), None
        try:
            for item in itertools.islice(items, size):
                chunk.items.append(item)
        except Exception as found:  # noqa: BLE001 -- raised again below
            error = found
        if chunk.items:
            yield chunk
        if error is not None:
            raise error
        if not chunk.items:
            return


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
    if source is not None and kind_of(source) != "text":
        raise ValueError(
            f"seqlearn view supports sources that are texts, and the source of "
            f"{options.checkpoint} is {type(source).__name__}; use sl.record(model) and "
            "recording.to_html(path)"
        )
    generating = decoding_options(options)
    if target.needs_decoder:
        check_decoding(module.generation, generating)
    elif generating:
        raise unused_decoding(options.checkpoint, target, generating)
    with record(module, what=DETAILED) as recording:
        if source is None:
            outputs = module.generate(prompts=options.text, **generating)
        elif target.needs_decoder:
            outputs = module.generate(options.text, **generating)
        else:
            outputs = module.predict(options.text)
    for text, output in zip(options.text, outputs, strict=True):
        print(f"{to_single_line(text)}  →  {to_single_line(target.describe(output))}")
    print(f"Page: {recording.to_html(options.out)}")


def _parser(command: str, description: str) -> ArgumentParser:
    """The arguments that every command on a checkpoint has."""
    parser = ArgumentParser(prog=f"seqlearn {command}", description=description)
    parser.add_argument("checkpoint", help=SAVED)
    parser.add_argument(
        "--model",
        help="the class of the module, if it is your own: package.module.Class",
    )
    return parser


class UnknownSymbols:
    """Collects the inputs that have symbols outside a model's vocabulary.

    Args:
        side: The type of the inputs; one without `unknown_symbols` has no vocabulary.
        name: Name of the file.
        error: Whether such an input is an error.
    """

    def __init__(self, side: object, name: str, *, error: bool) -> None:
        self._unknown_symbols = getattr(side, "unknown_symbols", None)
        self._name, self._error = name, error
        self._found: list[str] = []  # the first of them
        self._count = 0

    def check(self, items: Iterable[Item]) -> Iterator[Item]:
        """The same inputs, each checked when it is read.

        Raises:
            ValueError: If a text cannot be encoded or, with `error`, has such a symbol; the message
                names file, line and symbol.
        """
        for item in items:
            if self._unknown_symbols is not None and isinstance(item.value, str) and item.value:
                self._check(item)
            yield item

    def _check(self, item: Item) -> None:
        assert self._unknown_symbols is not None
        try:
            symbols = self._unknown_symbols(item.value)
        except ValueError as error:
            raise ValueError(f"{item.place}: {error}") from error
        if symbols and self._error:
            raise ValueError(
                f"{item.place}: {symbols[0]} is not in the model's vocabulary; remove or replace "
                "it, or pass --unknown mark to encode it as unknown"
            )
        if symbols:
            where = item.place.removeprefix(f"{self._name}, ")
            self._count += 1
            if self._count <= LINES_NAMED:
                self._found.append(f"{where}: {symbols[0]}")

    def report(self) -> None:
        """Print the lines, if any, to standard error."""
        if not self._found:
            return
        named = "; ".join(self._found)
        left = self._count - LINES_NAMED
        more = f"; and {left} more" if left > 0 else ""
        print(
            f"seqlearn: warning: {self._name}: symbols outside the model's vocabulary were encoded "
            f"as unknown in {self._count} {'line' if self._count == 1 else 'lines'} "
            f"({named}{more}); pass --unknown error to stop at the first",
            file=sys.stderr,
        )
