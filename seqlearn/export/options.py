"""The options of a search: those that were saved with the model, and those of a call.

The rules are those of `seqlearn.GenerationConfig`. This file imports nothing of seqlearn or torch,
for each exported folder holds a copy of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

STRATEGIES = ("greedy", "beam")
OF_BEAM = ("beam_size", "length_penalty", "early_stopping")
OF_SAMPLING = ("temperature", "top_k", "top_p")
LEAST = {"beam_size": 1, "max_new_tokens": 1, "no_repeat_ngram_size": 0, "min_new_tokens": 0}
"""The whole numbers among the options, and the least value of each."""


def search_options(
    saved: Mapping[str, Any], given: Mapping[str, Any], num_return_sequences: int
) -> dict[str, Any]:
    """The options of a search: those of the model, and those of the call instead.

    Args:
        saved: The options that were saved with the model.
        given: Those of the call; `None` keeps what is saved.
        num_return_sequences: Texts for each source.

    Raises:
        TypeError: If there is no such option, or a value is not of its type.
        ValueError: If an option is outside its range, or the strategy does not use it.

    Examples:
        >>> search_options({"strategy": "greedy", "beam_size": 4}, {"strategy": "beam"}, 1)
        {'strategy': 'beam', 'beam_size': 4}
    """
    given = {name: _builtin(value) for name, value in given.items() if value is not None}
    if unknown := [name for name in given if name not in saved]:
        raise TypeError(f"generate has no option {unknown[0]!r}; it has {', '.join(saved)}")
    options = {**saved, **given}
    strategy = options["strategy"]
    if strategy not in STRATEGIES:
        raise ValueError(
            f"expected strategy 'greedy' or 'beam', which exported models have, got {strategy!r}"
        )
    unused = OF_SAMPLING if strategy == "beam" else (*OF_BEAM, *OF_SAMPLING)
    if wrong := [name for name in given if name in unused]:
        raise ValueError(f"strategy={strategy!r} does not use {wrong[0]}; leave it out")
    _check_ranges(options)
    most = options["beam_size"] if strategy == "beam" else 1
    _check_whole_number(_builtin(num_return_sequences), "num_return_sequences", 1)
    if num_return_sequences > most:
        raise ValueError(
            f"expected num_return_sequences from 1 to {most} (the beam size), got "
            f"{num_return_sequences}"
        )
    return options


def _check_ranges(options: Mapping[str, Any]) -> None:
    for name, least in LEAST.items():
        _check_whole_number(options.get(name, least), name, least)
    for name in ("length_penalty", "repetition_penalty"):
        if type(options.get(name, 1)) not in (int, float):
            raise TypeError(f"{name}: expected a number, got {options[name]!r}")
    if not math.isfinite(options.get("length_penalty", 1)):
        raise ValueError(f"expected a finite length_penalty, got {options['length_penalty']}")
    penalty = options.get("repetition_penalty", 1)
    if not 0 < penalty < math.inf:
        raise ValueError(f"expected repetition_penalty above 0 (1 is off), got {penalty}")
    early = options.get("early_stopping", False)
    if not isinstance(early, bool) and early != "never":
        raise ValueError(f"expected early_stopping True, False or 'never', got {early!r}")
    least, most = options.get("min_new_tokens", 0), options.get("max_new_tokens", math.inf)
    if most < least:
        raise ValueError(
            f"expected min_new_tokens of at most max_new_tokens={most}, got {least}; pass a "
            "smaller min_new_tokens, or a larger max_new_tokens"
        )


def _check_whole_number(value: Any, name: str, least: int) -> None:
    if type(value) is not int:
        raise TypeError(f"{name}: expected a whole number, such as {max(least, 8)}, got {value!r}")
    if value < least:
        raise ValueError(f"expected {name} of at least {least}, got {value}")


def _builtin(value: Any) -> Any:
    """A number of numpy or torch as one of Python."""
    is_scalar = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_scalar else value
