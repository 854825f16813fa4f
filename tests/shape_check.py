"""The run-time type checker of the test suite: beartype, with an int where a float is asked for."""

from __future__ import annotations

from typing import Any

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(fn: Any) -> Any:
    """Check a function's or a class's types at each call.

    Specs and the strategies that draw them are left alone: no tensor passes there, and the checker
    draws random numbers, which hypothesis forbids within a strategy.
    """
    unchecked = fn.__module__.startswith(("seqlearn.spec.", "seqlearn.testing.strategies"))
    return fn if unchecked else _check(fn)
