"""Formatting of errors for the command line: one line each."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from seqlearn.atomic_files import is_disk_full
from seqlearn.cli.option_advice import (
    chosen_classes,
    likely_option,
    named_classes,
    unknown_class,
)
from seqlearn.cli.training import TRAINING

WITH_CLASSES = (*TRAINING, "compare")
"""The commands with the options `--model`, `--data` and `--trainer`."""

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
        message = _parser_message(str(error), argv)
        if option := _likely_option(str(error), message, argv):
            message += f"; did you mean {option}?"
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


def _parser_message(text: str, argv: Sequence[str]) -> str:
    """The message of a parser, without the types that it tried."""
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    message = " ".join(line for line in lines if line and not line.startswith(_NOISE))
    given = next((line[13:] for line in lines if line.startswith("Given value: ")), "")
    if given and "Got value:" not in message and not given.startswith(("NestedArg", "Namespace")):
        message += f", got {given}"
    keys = ".".join(re.findall(r'Parser key "([^"]+)"', message))
    message = re.sub(r'Parser key "[^"]+":? ?', "", message)
    message = re.sub(r"Expected an? <class '(?:\w+\.)*(\w+)'>", r"expected \1", message)
    message = message.replace(". Got value:", ", got")
    if (required := message.removeprefix("the following arguments are required: ")) != message:
        names = [name.removeprefix(f"{argv[0]}.") for name in required.split(", ")]
        if argv[0] in WITH_CLASSES:
            names = [f"--{keys}.{name}" if keys else f"--{name}" for name in names]
        return f"the following arguments are required: {', '.join(names)}"
    is_named = any(word.partition("=")[0] == f"--{keys}" for word in argv)
    if re.search(r"but seqlearn\.[\w.]+ is abstract", message) and not is_named:
        return f"the following arguments are required: --{keys}"
    unknown = re.search(r"Expected a dot import path string: (\S+)", message)
    missing = re.search(r"Expected a path but (\S+) either not accessible or invalid (.*)", message)
    if unknown is not None:
        message = unknown_class(keys, unknown[1].rstrip(","))
    elif missing is not None and re.search(r"No module named|has no attribute", missing[2]):
        message = unknown_class(keys, missing[1], missing[2])
    elif missing is not None and "is abstract" in missing[2]:
        message = f"expected a class that can be built, got {missing[1]}, which is abstract"
    elif missing is not None and "correspond to a subclass of" in missing[2]:
        base = missing[2].partition("subclass of ")[2].partition(",")[0]
        message = f"expected a subclass of {base}, got {missing[1]}, which is none"
    return f"--{keys}: {message}" if keys else message


def _likely_option(text: str, message: str, argv: Sequence[str]) -> str:
    """The option that was probably meant, for an error about one that does not exist."""
    if not argv or argv[0] not in WITH_CLASSES:
        return ""
    inner = re.search(r"^--(model|data)\b.*Option '([^']+)' is not accepted", message)
    outer = re.search(r"(?:unrecognized arguments:|ambiguous option:) --([\w.-]+)", message)
    if inner is not None:
        return likely_option(f"{inner[1]}.{inner[2]}", named_classes(text))
    return likely_option(outer[1], chosen_classes(argv)) if outer is not None else ""


def _help_command(text: str, argv: Sequence[str]) -> str:
    """The command that prints the help for the options in an error."""
    known = argv and not argv[0].startswith("-") and not text.startswith("expected a command")
    command = f"seqlearn {argv[0]}" if known else "seqlearn"
    if re.search(r"class_path '(?:\w+\.)*Recipe'", text):
        return f"{command} --model.recipe.help"
    named = r'Parser key "(model|data)".*class_path \'(?:\w+\.)*(\w+)\''
    built = re.search(named, text, re.DOTALL)
    if built is not None and named_classes(text):
        return f"{command} --{built[1]}.help {built[2]}"
    return f"{command} --help"
