"""Formatting of errors for the command line: one line each."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any

from seqlearn.atomic_files import is_disk_full
from seqlearn.cli.plugins import subclasses
from seqlearn.cli.training import TRAINING
from seqlearn.core import SequenceModule
from seqlearn.data import SequenceDataModule

# jsonargparse lists every type that it tried; these lines of its message do not help a user.
_NOISE = (
    "Does not validate against",
    "Subtypes:",
    "Errors:",
    "Given value",
    "Problem with given class_path",
    "Expected a <class 'NoneType'>",
)


def format_error(error: BaseException, argv: Sequence[str]) -> str:
    r"""Format an error as one line.

    Args:
        error: The exception.
        argv: The arguments after `seqlearn`; they determine which `--help` the line recommends.

    Examples:
        >>> format_error(ValueError("expected a number,\n  got 'x'"), ["fit"])
        "expected a number, got 'x'"
    """
    # jsonargparse wraps the message of a constructor in a list of all types that it tried.
    while error.__cause__ is not None and str(error).startswith("Does not validate against any"):
        error = error.__cause__
    if isinstance(error, argparse.ArgumentError):
        message = _parser_message(str(error))
        joint = " See" if message.endswith("?") else "; see"
        return f"{message}{joint} `{_help_command(str(error), argv)}`"
    message = " ".join(str(error).split()) or type(error).__name__
    if is_disk_full(error) and "the disk is full" not in message:  # written by another package
        training = bool(argv) and argv[0] in TRAINING
        advice = (
            "choose another folder with --trainer.default_root_dir"
            if training
            else "write to another disk"
        )
        return f"the disk is full ({message}); free space, or {advice}"
    return message


def _parser_message(text: str) -> str:
    """The message of a parser, without the types that it tried."""
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    message = " ".join(line for line in lines if line and not line.startswith(_NOISE))
    given = next((line[13:] for line in lines if line.startswith("Given value: ")), "")
    if given and "Got value:" not in message and not given.startswith("NestedArg"):
        message += f", got {given}"
    keys = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    message = re.sub(r'Parser key "[^"]+":? ?', "", message)
    message = re.sub(r"Expected an? <class '(?:\w+\.)*(\w+)'>", r"expected \1", message)
    message = message.replace(". Got value:", ", got")
    if message.startswith("the following arguments are required"):
        message = re.sub(rf"\b(?:{'|'.join(TRAINING)})\.(\w+)", r"--\1", message)
    unknown = re.search(r"Expected a dot import path string: (\S+)", message)
    if unknown is not None:
        message = _unknown_class_message(keys, unknown[1].rstrip(","))
    return f"--{keys}: {message}" if keys else message


def _unknown_class_message(key: str, name: str) -> str:
    """The message for an unknown class; it lists seqlearn's classes for this option."""
    bases: dict[str, type[Any]] = {"model": SequenceModule, "data": SequenceDataModule}
    base = bases.get(key)
    known = {cls.__name__: cls.__module__ for cls in subclasses(base)} if base else {}
    near = difflib.get_close_matches(name, known, 1)
    advice = f"; did you mean {near[0]}?" if near else ""
    own = sorted(name for name, module in known.items() if module.startswith("seqlearn."))
    listed = f"{', '.join(own)} or package.module.Class" if own else "package.module.Class"
    return f"expected {listed}, got {name!r}{advice}"


def _help_command(text: str, argv: Sequence[str]) -> str:
    """The command that prints the help for the options in an error."""
    known = argv and argv[0] in (*TRAINING, "compare")
    command = f"seqlearn {argv[0]}" if known else "seqlearn"
    if re.search(r"class_path '(?:\w+\.)*Recipe'", text):
        return f"{command} --model.recipe.help"
    named = r'Parser key "(model|data)".*class_path \'(?:\w+\.)*(\w+)\''
    if (built := re.search(named, text, re.DOTALL)) is not None:
        return f"{command} --{built[1]}.help {built[2]}"
    return f"{command} --help"
