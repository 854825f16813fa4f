"""Each `seqlearn` command that README.md, the pages and the tutorials show has valid arguments.

The parser of the command reads them, in a process of its own; nothing is run. Files that a page
takes for granted, and the classes of a user's package, are made in the working folder.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jsonargparse
import pytest
from snippets import PAGES, ROOT, blocks

from seqlearn.cli import run
from seqlearn.cli.compare import make_parser
from seqlearn.cli.parser import check_config_files, expand_help
from seqlearn.cli.training import TRAINING, SequenceCLI, train

PACKAGE = """
import seqlearn as sl

class MyModel(sl.LSTM): ...

class MyData(sl.data.Dates): ...
"""
SAVED = ("run.yaml", "lightning_logs/version_0/config.yaml")
"""Configurations that an earlier run has written."""
SEQLEARN = re.compile(r"(^|/|which )seqlearn\)?$")
"""The word that names the command."""


class Command(NamedTuple):
    """A command and where it is shown."""

    place: str
    words: tuple[str, ...]


class ParsedError(Exception):
    """Ends a command as soon as its arguments are read."""


def seqlearn_commands(
    lines: Sequence[str], page: str, first: int, prompt: str = ""
) -> Iterator[Command]:
    """The `seqlearn` commands among lines of a shell, also those after a launcher or a pipe."""
    text, start = "", first
    for number, line in enumerate(lines, first):
        if not text:
            if not line.startswith(prompt):
                continue  # output
            start = number
        text += line.removeprefix("" if text else prompt).removesuffix("\\") + " "
        if line.endswith("\\"):
            continue
        for words in _pipeline(shlex.split(text, comments=True)):
            at = [n for n, word in enumerate(words) if SEQLEARN.search(word)]
            if at and "benchmarks" not in words[: at[0]]:  # there it is the name of a contender
                yield Command(f"{page}:{start}", tuple(words[at[0] + 1 :]))
        text = ""


def _pipeline(words: Sequence[str]) -> Iterator[list[str]]:
    """The commands of a line, without the files that are read and written."""
    current: list[str] = []
    following = iter(words)
    for word in following:
        if word in ("|", "&&", "||", ";", "&"):
            yield current
            current = []
        elif re.fullmatch(r"[12]?(<|>|>>)", word):
            next(following)
        elif not re.fullmatch(r"[12]?>&[12]", word):
            current.append(word)
    yield current


def shown() -> Iterator[Command]:
    """The commands of the pages and of the tutorials."""
    for page in PAGES:
        for block in blocks(page):
            if block.language in ("console", "bash"):
                prompt = "$ " if block.language == "console" else ""
                yield from seqlearn_commands(block.code.splitlines(), page, block.line, prompt)
    for path in sorted((ROOT / "tutorials").glob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        yield from seqlearn_commands(lines, f"tutorials/{path.name}", 1, "# $ ")


COMMANDS_SHOWN = list(shown())


WRONG = (
    "seqlearn fit --config configs/dates-gru.yaml --no-such-option 1",
    "seqlearn fit --config configs/dates-gru.yaml --model.no_such_argument 1",
    "seqlearn fit --config no-such-file.yaml",
    "seqlearn compare --data Dates --no-such-option 1",
    "seqlearn translate model.ckpt --no-such-option < in.txt > out.txt",
    "seqlearn predict model.ckpt in.csv --column text --no-such-option",
    "seqlearn cache prune --no-such-option",
    "seqlearn no-such-command",
)


def read_all(folder: Path, commands: Sequence[Sequence[str]]) -> list[str]:
    """Read the arguments of commands in a folder, in a process that is for nothing else.

    Returns:
        What the parser says of each; empty if it is valid.
    """
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    importlib.import_module("my_package")  # a class that is imported is found by its name
    parsers: dict[str, Any] = {"compare": make_parser()}
    parse = argparse.ArgumentParser.parse_args

    def keep(_cli: SequenceCLI, parser: Any, _args: Any) -> None:
        parsers["train"] = parser
        raise ParsedError

    def parse_and_end(self: argparse.ArgumentParser, *args: Any, **options: Any) -> Any:
        parsed = parse(self, *args, **options)
        if isinstance(self, jsonargparse.ArgumentParser):
            return parsed
        raise ParsedError

    def read(words: Sequence[str]) -> None:
        training = words[0] in TRAINING and not (
            words[0] == "predict" and len(words) > 1 and not words[1].startswith("-")
        )
        if not training and words[0] != "compare":
            run(words)
            raise AssertionError("it ran")
        given = expand_help(list(words))
        check_config_files(given)
        parser = parsers["train"] if training else parsers["compare"]
        parser.parse_args(given if training else given[1:])

    SequenceCLI.parse_arguments = keep
    with contextlib.suppress(ParsedError):
        train(["fit"])
    argparse.ArgumentParser.parse_args = parse_and_end
    found = []
    for words in commands:
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.suppress(ParsedError):
            try:
                read(words)
            except (SystemExit, argparse.ArgumentError) as error:
                said.write(f"{type(error).__name__}: {error}")
        found.append(said.getvalue())
    return found


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], str]:
    """What the parser says of each command; classes of other tests would have equal names."""
    folder: Path = tmp_path_factory.mktemp("commands")
    shutil.copytree(ROOT / "configs", folder / "configs")
    for name in SAVED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "configs" / "dates-gru.yaml", folder / name)
    (folder / "my_package.py").write_text(PACKAGE, encoding="utf-8")
    wrong = [command for line in WRONG for command in seqlearn_commands([line], line, 1)]
    commands = [each.words for each in (*COMMANDS_SHOWN, *wrong)]
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return dict(zip(commands, process.apply(read_all, (folder, commands)), strict=True))


@pytest.mark.parametrize("command", COMMANDS_SHOWN, ids=[each.place for each in COMMANDS_SHOWN])
def test_the_arguments_of_a_shown_command_are_valid(
    errors: dict[tuple[str, ...], str], command: Command
) -> None:
    assert errors[command.words] == ""


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_argument_is_found(errors: dict[tuple[str, ...], str], line: str) -> None:
    (command,) = seqlearn_commands([line], "page.md", 1)
    assert errors[command.words]


def test_commands_are_found_behind_a_launcher_and_a_pipe() -> None:
    lines = [
        "cat in.txt | seqlearn translate m.ckpt --device cpu > out.txt  # a comment",
        "torchrun --nproc-per-node 4 \\",
        '  "$(which seqlearn)" fit --config a.yaml',
        "pip install -c constraints.txt '.[tags]'",
        "OMP_NUM_THREADS=1 python -m benchmarks train --only seqlearn",
    ]
    assert list(seqlearn_commands(lines, "page.md", 7)) == [
        ("page.md:7", ("translate", "m.ckpt", "--device", "cpu")),
        ("page.md:8", ("fit", "--config", "a.yaml")),
    ]
    assert len(COMMANDS_SHOWN) > 35
