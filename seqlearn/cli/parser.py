"""The parser of `seqlearn fit|validate|test|predict`."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import pydoc
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from seqlearn.core import GenerationConfig, Recipe


def default_options(class_path: str) -> dict[str, Recipe | GenerationConfig]:
    """The options of a model that are written out where they were left out, by key.

    Args:
        class_path: The class of the model, with its module.
    """
    model = pydoc.locate(class_path)
    return {
        "model.init_args.recipe": getattr(model, "default_recipe", Recipe()),
        "model.init_args.generation": GenerationConfig(),
    }


class SequenceParser(LightningArgumentParser):
    """A `LightningArgumentParser` that writes all fields of `recipe` and `generation`."""

    def dump(self, namespace: Namespace, *args: Any, **options: Any) -> str:
        """Serialize a configuration; missing `recipe` and `generation` get their defaults."""
        if "skip_none" in options:  # Lightning's argument, under a name deprecated by jsonargparse
            options["skip_unset"] = options.pop("skip_none")
        class_path = str(namespace.get("model.class_path"))
        for key, defaults in default_options(class_path).items():
            left_out = key in namespace and namespace[key] is None
            if left_out and not options.get("skip_default"):
                namespace = namespace.clone()
                namespace[key] = Namespace(**dataclasses.asdict(defaults))  # type: ignore[no-untyped-call]
        return super().dump(namespace, *args, **options)


def expand_help(argv: Sequence[str]) -> list[str]:
    """Rewrite `--model CLASS --model.recipe.help` to the form that jsonargparse supports.

    jsonargparse prints the options of a nested argument (`recipe`) only for
    `--model.help CLASS --model.recipe.help`.

    Args:
        argv: The arguments after `seqlearn`.

    Returns:
        The arguments to parse; unchanged unless they contain such a help option.

    Examples:
        >>> expand_help(["fit", "--model", "LSTM", "--model.recipe.help"])
        ['fit', '--model.help', 'LSTM', '--model.recipe.help']
    """
    for word in argv:
        nested = re.fullmatch(r"--(model|data)(?:\.init_args)?\.(.+\.help)", word)
        if nested is None or f"--{nested[1]}.help" in argv:
            continue
        option = f"--{nested[1]}"
        named = [*(["SequenceModule"] if nested[1] == "model" else []), *values_of(argv, option)]
        return [argv[0], f"{option}.help", *named[-1:], f"{option}.{nested[2]}"]
    return list(argv)


def check_config_files(argv: Sequence[str]) -> None:
    """Check that the configuration files are YAML mappings; the parser's own errors name no file.

    Args:
        argv: The arguments after `seqlearn`.

    Raises:
        argparse.ArgumentError: If a file is not one; the message names it, and the line if known.
    """
    for name in itertools.chain(values_of(argv, "--config"), values_of(argv, "-c")):
        if not Path(name).is_file():  # JSON or a URL; otherwise the parser raises
            continue
        try:
            content = yaml.safe_load(Path(name).read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            problem = f"byte {error.start + 1} is not UTF-8; convert the file to UTF-8"
        except yaml.YAMLError as error:
            problem = f"not valid YAML: {' '.join(str(error).split())}"
        else:
            if isinstance(content, dict):
                continue
            got = "an empty file" if content is None else f"a {type(content).__name__}"
            problem = f"expected options such as `model: …`, got {got}"
        raise argparse.ArgumentError(None, f"--config {name}: {problem}")


def values_of(argv: Sequence[str], option: str) -> Iterator[str]:
    """The values of an option, given as `--option value` or `--option=value`."""
    for word, following in itertools.pairwise([*argv, ""]):
        if word == option:
            yield following
        elif word.startswith(f"{option}="):
            yield word.partition("=")[2]
