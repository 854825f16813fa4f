"""Equal sizes: the width at which a model has a wanted number of parameters."""

from __future__ import annotations

import inspect
import warnings
from typing import Any, NamedTuple

import torch

from seqlearn.comparison.candidates import Candidate
from seqlearn.core import SequenceModule
from seqlearn.spec import SequenceSpec

TOLERANCE = 0.05
"""A model within this fraction of the wanted number has the wanted size."""

_FINE = 0.01
_WIDEST = 2**14


class Size(NamedTuple):
    """The size of a model.

    Attributes:
        options: Its arguments, with the width that was found.
        parameters: The number of parameters that are trained.
        note: Why the size differs from the wanted one; empty if it does not.
    """

    options: dict[str, Any]
    parameters: int
    note: str = ""


def build(candidate: Candidate, spec: SequenceSpec, **changes: Any) -> SequenceModule:
    """Build a model."""
    return candidate.cls(spec, **(candidate.options | changes))


def count_parameters(module: SequenceModule) -> int:
    """The number of parameters that training changes: without the halves that the task leaves out.

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.ClassesSpec(("no", "yes")))
        >>> count_parameters(sl.GRU(spec, d_model=4, num_layers=1, bidirectional=False))
        186
    """
    unused = {id(p) for part in module.unused_modules() for p in part.parameters()}
    return sum(p.numel() for p in module.parameters() if p.requires_grad and id(p) not in unused)


def given_size(candidate: Candidate, spec: SequenceSpec) -> Size:
    """The size of a model as it is."""
    return Size(candidate.options, _count(candidate, spec))


def match_size(candidate: Candidate, spec: SequenceSpec, wanted: int) -> Size:
    """Find the width `d_model` at which a model has about the wanted number of parameters.

    Widths are multiples of the number of heads, or of a multiple of it that the class accepts.
    Where they are too coarse, `d_feedforward` is changed too, if the class has it and it is not
    given. A class without an argument `d_model` keeps its size.

    Args:
        candidate: The model; its `d_model` is replaced.
        spec: The types of source and target.
        wanted: The number of parameters.

    Raises:
        Exception: What the class raises at every width.
    """
    parameters = inspect.signature(candidate.cls).parameters
    if "d_model" not in parameters:
        fixed = _count(candidate, spec)
        return Size(candidate.options, fixed, _difference(fixed, wanted, "it has no d_model"))
    heads = candidate.options.get("num_heads", getattr(parameters.get("num_heads"), "default", 1))
    unit = _accepted_unit(candidate, spec, int(heads))
    counts: dict[int, int] = {}

    def count(multiple: int) -> int:
        if multiple not in counts:
            counts[multiple] = _count(candidate, spec, d_model=multiple * unit)
        return counts[multiple]

    high = 1
    while count(high) < wanted and high * unit < _WIDEST:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < wanted else (low, middle)
    best = min((each for each in (low, high) if each), key=lambda each: abs(count(each) - wanted))
    note = _difference(counts[best], wanted, f"widths are multiples of {unit}")
    size = Size(candidate.options | {"d_model": best * unit}, counts[best], note)
    given = candidate.options.get("d_feedforward") is not None
    adjustable = "d_feedforward" in parameters and not given
    if adjustable and abs(size.parameters / wanted - 1) > _FINE:
        return _match_feedforward(candidate, spec, wanted, size)
    return size


def _match_feedforward(candidate: Candidate, spec: SequenceSpec, wanted: int, size: Size) -> Size:
    """Change the inner width of the feed-forward blocks; parameters are linear in it."""
    d_model = size.options["d_model"]
    one, two = (_count(candidate, spec, d_model=d_model, d_feedforward=f) for f in (1, 2))
    width = max(1, round(1 + (wanted - one) / (two - one)))
    changes = {"d_model": d_model, "d_feedforward": width}
    count = _count(candidate, spec, **changes)
    if abs(count - wanted) >= abs(size.parameters - wanted):
        return size
    reason = f"d_model={d_model} is the nearest width"
    return Size(candidate.options | changes, count, _difference(count, wanted, reason))


def _accepted_unit(candidate: Candidate, spec: SequenceSpec, unit: int) -> int:
    """The smallest of `unit`, 2 `unit`, 4 `unit`, … whose odd multiples the class accepts."""
    for factor in (1, 2, 4, 8):
        try:
            for multiple in (1, 3):
                _count(candidate, spec, d_model=unit * factor * multiple)
        except ValueError:
            if factor == 8:
                raise
        else:
            return unit * factor
    raise AssertionError("unreachable")


def _count(candidate: Candidate, spec: SequenceSpec, **changes: Any) -> int:
    """The parameters of a model, which is built without memory where its class supports that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with torch.device("meta"):
                return count_parameters(build(candidate, spec, **changes))
        except (NotImplementedError, RuntimeError):  # it reads values of its parameters
            return count_parameters(build(candidate, spec, **changes))


def _difference(count: int, wanted: int, reason: str) -> str:
    share = count / wanted - 1
    return "" if abs(share) <= TOLERANCE else f"{share:+.0%} parameters: {reason}"
