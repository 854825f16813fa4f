"""What went wrong, in one line."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any

from seqlearn.cli.plugins import subclasses
from seqlearn.cli.training import TRAINING
from seqlearn.core import SequenceModule
from seqlearn.data import SequenceDataModule

# jsonargparse tells of every type that it tried; these lines of it say nothing to a user.
_NOISE = (
    "Does not validate against",
    "Subtypes:",
    "Errors:",
    "Given value",
    "Problem with given class_path",
    "Expected a <class 'NoneType'>",
)


def format_error(error: BaseException, argv: Sequence[str]) -> str:
    """What an error says, on one line.

    Args:
        error: What was raised.
        argv: The words after `seqlearn`, for the advice.
    """
    # jsonargparse wraps what a constructor says in a list of all types that it tried.
    while error.__cause__ is not None and str(error).startswith("Does not validate against any"):
        error = error.__cause__
    if isinstance(error, argparse.ArgumentError):
        said = _of_parser(str(error))
        joint = " See" if said.endswith("?") else "; see"
        return f"{said}{joint} `{_helping(str(error), argv)}`"
    return " ".join(str(error).split()) or type(error).__name__


def _of_parser(text: str) -> str:
    """What a parser says, without the types that it tried."""
    lines = [line.strip().removeprefix("- ") for line in text.splitlines()]
    said = " ".join(line for line in lines if line and not line.startswith(_NOISE))
    given = next((line[13:] for line in lines if line.startswith("Given value: ")), "")
    if given and "Got value:" not in said and not given.startswith("NestedArg"):
        said += f", got {given}"
    keys = ".".join(re.findall(r'Parser key "([^"]+)"', said))
    said = re.sub(r'Parser key "[^"]+":? ?', "", said)
    said = re.sub(r"Expected an? <class '(?:\w+\.)*(\w+)'>", r"expected \1", said)
    said = said.replace(". Got value:", ", got")
    if said.startswith("the following arguments are required"):
        said = re.sub(rf"\b(?:{'|'.join(TRAINING)})\.(\w+)", r"--\1", said)
    unknown = re.search(r"Expected a dot import path string: (\S+)", said)
    if unknown is not None:
        said = _of_class(keys, unknown[1].rstrip(","))
    return f"--{keys}: {said}" if keys else said


def _of_class(key: str, name: str) -> str:
    """That there is no class of this name, and which seqlearn has."""
    bases: dict[str, type[Any]] = {"model": SequenceModule, "data": SequenceDataModule}
    base = bases.get(key)
    known = {cls.__name__: cls.__module__ for cls in subclasses(base)} if base else {}
    near = difflib.get_close_matches(name, known, 1)
    advice = f"; did you mean {near[0]}?" if near else ""
    own = sorted(name for name, module in known.items() if module.startswith("seqlearn."))
    listed = f"{', '.join(own)} or package.module.Class" if own else "package.module.Class"
    return f"expected {listed}, got {name!r}{advice}"


def _helping(text: str, argv: Sequence[str]) -> str:
    """The command that tells what may be said."""
    command = f"seqlearn {argv[0]}" if argv and argv[0] in TRAINING else "seqlearn"
    if re.search(r"class_path '(?:\w+\.)*Recipe'", text):
        return f"{command} --model.recipe.help"
    if re.search(r"class_path '(?:\w+\.)*Recipe'", text):
        return f"{command} --model.recipe.help"
    named = r'Parser key "(model|data)".*class_path \'(?:\w+\.)*(\w+)\''
    if (built := re.search(named, text, re.DOTALL)) is not None:
        return f"{command} --{built[1]}.help {built[2]}"
    return f"{command} --help"
