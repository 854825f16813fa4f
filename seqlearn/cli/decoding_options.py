"""The decoding options of the commands that generate texts: `--decoding beam --beam-size 8`."""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Mapping
from typing import Any, get_args

from seqlearn.core import GenerationConfig
from seqlearn.core.generation_config import STRATEGY_OF, StrategyName, resolve_options

TYPES = {"early_stopping": str, "beam_size": int, "top_k": int, "no_repeat_ngram_size": int}
TYPES |= {"min_new_tokens": int, "max_new_tokens": int}
EARLY_STOPPING = {"true": True, "false": False, "never": "never"}

HELP = {
    "beam_size": "rows for each source",
    "length_penalty": "the power of the length that divides log-probabilities",
    "early_stopping": "when a source is done: true, false or never",
    "temperature": "divides the logits",
    "top_k": "draw from so many of the most probable tokens",
    "top_p": "draw from the most probable tokens with this share of the probability",
    "repetition_penalty": "above 1 lowers the scores of tokens that have occurred",
    "no_repeat_ngram_size": "no n-gram of this size occurs twice; 0 is off",
    "min_new_tokens": "tokens to generate before the end symbol",
    "max_new_tokens": "most tokens to generate, the end symbol counted",
}


def add_decoding_options(parser: argparse.ArgumentParser) -> None:
    """Add `--decoding` and an option for each field of `GenerationConfig`."""
    group = parser.add_argument_group("decoding", "By default those that are saved with the model.")
    group.add_argument("--decoding", choices=get_args(StrategyName), help="the decoding strategy")
    for field in dataclasses.fields(GenerationConfig):
        if field.name != "strategy":
            owner = STRATEGY_OF.get(field.name)
            group.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=TYPES.get(field.name, float),
                choices=[*EARLY_STOPPING] if field.name == "early_stopping" else None,
                help=(f"{owner}: " if owner else "") + HELP[field.name],
            )


def decoding_options(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `generate` that were given on the command line."""
    names = [field.name for field in dataclasses.fields(GenerationConfig)]
    given = {name: getattr(options, name, None) for name in names}
    given["early_stopping"] = EARLY_STOPPING.get(options.early_stopping)
    given["strategy"] = options.decoding
    texts = getattr(options, "num_return_sequences", 1)
    given["num_return_sequences"] = None if texts == 1 else texts
    return {name: value for name, value in given.items() if value is not None}


def check_decoding(config: GenerationConfig, given: Mapping[str, Any]) -> None:
    """Check arguments of `generate` before any input is read.

    Args:
        config: The options of the model, which these override.
        given: What `decoding_options` returned.

    Raises:
        ValueError: If the strategy does not use an option, or a value is outside its range; the
            message names the options of the command line.
    """
    others = {"strategy": None, "num_return_sequences": 1} | dict(given)
    strategy, texts = others.pop("strategy"), others.pop("num_return_sequences")
    try:
        resolve_options(config, strategy, texts, **others)
    except (TypeError, ValueError) as error:
        raise ValueError(as_options(str(error))) from error


def as_options(message: str) -> str:
    """A message about arguments of `generate`, with the names of the options.

    Examples:
        >>> as_options("expected top_k of at most 9, or strategy='beam'")
        'expected --top-k of at most 9, or --decoding beam'
    """
    message = re.sub(r"\bstrategy(?:=| )'(\w+)'", r"--decoding \1", message)
    names = [field.name for field in dataclasses.fields(GenerationConfig)]
    for name in (*names, "num_return_sequences"):
        option = "--decoding" if name == "strategy" else f"--{name.replace('_', '-')}"
        message = re.sub(rf"\b(?<!-){name}\b(?:=(\S+))?", rf"{option} \1", message)
    return re.sub(r" +(?=[ ,;.]|$)", "", message)
