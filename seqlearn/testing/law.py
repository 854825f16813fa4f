"""What a law is, and what it gets: a trial, of one module on one drawn case."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.spec import SequenceSpec, TextSpec
from seqlearn.testing.cases import LONGEST, SHAPES, Example, batch_of, rich_examples
from seqlearn.testing.module_under_test import ModuleUnderTest, perturb
from seqlearn.testing.strategies import examples

_TOLERANCE = {torch.float64: (1e-9, 1e-7), torch.float32: (1e-4, 1e-4)}

_Drawn = TypeVar("_Drawn")

ALL = tuple(SHAPES)
TEXT_SOURCE = ("sequence-to-sequence", "sequence-to-vector (classes)", "sequence-to-vector")
TEXT_TARGET = ("sequence-to-sequence", "vector-to-sequence", "language-modeling")


class LawViolation(Exception):  # noqa: N818 -- a finding, not an error of the kit
    """A law does not hold; the message says what was seen."""


class NotApplicable(Exception):  # noqa: N818 -- as above
    """A law says nothing of this trial; the message says why."""


class Trial:
    """One module on one case.

    Args:
        module_under_test: The module under test.
        shape: The name of the shape.
        seed: From which the module is built.
        draw: Draws from a strategy; `None` for a law that draws nothing.

    Attributes:
        error: The greatest difference that was measured.
        drawn: What was drawn, by name, in the order of drawing; of a law that draws nothing the
            batch that it is at.
    """

    def __init__(
        self,
        module_under_test: ModuleUnderTest,
        shape: str,
        seed: int,
        draw: Callable[..., Any] | None,
    ) -> None:
        self.under_test, self.shape, self.seed = module_under_test, shape, seed
        self._draw = draw
        self.error = 0.0
        self.drawn: dict[str, Any] = {}
        torch.manual_seed(seed)

    @property
    def spec(self) -> SequenceSpec:
        """What goes in and what comes out."""
        return SHAPES[self.shape]

    @property
    def dtype(self) -> torch.dtype:
        """In which everything is computed unless a law says otherwise."""
        return self.under_test.dtype

    @property
    def text_source(self) -> bool:
        """Whether the source is text."""
        return isinstance(self.spec.source, TextSpec)

    @property
    def text_target(self) -> bool:
        """Whether the target is text."""
        return isinstance(self.spec.target, TextSpec)

    def draw(self, strategy: st.SearchStrategy[_Drawn], label: str) -> _Drawn:
        """Draw a value; the label names it in the words of a counterexample."""
        assert self._draw is not None
        drawn: _Drawn = self._draw(strategy, label)
        self.drawn[label] = drawn
        return drawn

    def module(
        self, *, training: bool = False, moved: bool = True, dtype: torch.dtype | None = None
    ) -> SequenceModule:
        """A new module, the same at every call.

        Args:
            training: Whether it is in training mode.
            moved: Whether its parameters have moved a little from where they start.
            dtype: In which it computes; that of the trial, if `None`.
        """
        state = torch.get_rng_state()
        module = self.under_test.build(self.spec, self.seed)
        if moved:
            perturb(module)
        torch.set_rng_state(state)
        return module.to(dtype or self.dtype).train(training)

    def examples(self, min_size: int = 1, max_size: int = 4) -> list[Example]:
        """Draw the examples of a batch."""
        strategy = examples(
            self.spec,
            min_size=min_size,
            max_size=max_size,
            longest_source=min(LONGEST, self.under_test.widest_source),
            longest_target=min(LONGEST, self.under_test.widest_target - 2),
        )
        return self.draw(strategy, "examples")

    def batch(self, drawn: list[Example], dtype: torch.dtype | None = None) -> SequenceBatch:
        """The batch of these examples; a law that draws nothing names the last one it made."""
        if self._draw is None:
            self.drawn["examples"] = drawn
        return batch_of(self.spec, drawn, dtype or self.dtype)

    def rich(self) -> list[Example]:
        """Four examples that differ, cut to what the module reads."""

        def cut(side: Any, places: int) -> Any:
            return side[:places] if isinstance(side, list) else side

        source = self.under_test.widest_source if self.text_source else LONGEST
        target = self.under_test.widest_target - 2 if self.text_target else LONGEST
        return [(cut(s, source), cut(t, target)) for s, t in rich_examples(self.spec)]

    # Findings

    def expect(self, holds: object, said: str) -> None:
        """Find the law broken unless `holds`.

        Raises:
            LawViolation: With what was said.
        """
        if not holds:
            raise LawViolation(said)

    def close(self, got: Tensor, expected: Tensor, what: str) -> None:
        """Find the law broken unless both are the same, to the tolerance of their type.

        Raises:
            LawViolation: With the greatest difference and its place.
        """
        self.expect(
            got.shape == expected.shape,
            f"{what}: expected the shape {tuple(expected.shape)}, got {tuple(got.shape)}",
        )
        if got.numel() == 0:
            return
        absolute, relative = _TOLERANCE.get(expected.dtype, _TOLERANCE[torch.float32])
        difference = (got - expected).abs().nan_to_num(math.inf, posinf=math.inf)
        worst = float(difference.max())
        self.error = max(self.error, worst)
        if bool((difference > absolute + relative * expected.abs()).any()):
            place = torch.unravel_index(difference.argmax(), difference.shape)
            where = ", ".join(str(int(at)) for at in place)
            raise LawViolation(f"{what}: differ by {worst:.3g} (at [{where}] of {list(got.shape)})")

    def zero(self, tensor: Tensor, what: str) -> None:
        """Find the law broken unless all is exactly zero.

        Raises:
            LawViolation: With the greatest number.
        """
        if tensor.numel() == 0:
            return
        worst = float(tensor.abs().nan_to_num(math.inf, posinf=math.inf).max())
        self.error = max(self.error, worst)
        self.expect(worst == 0, f"{what}: expected zero, got {worst:.3g}")

    def same(self, got: Tensor, expected: Tensor, what: str) -> None:
        """Find the law broken unless both are the same to the bit.

        Raises:
            LawViolation: With the greatest difference.
        """
        if not torch.equal(got, expected):
            self.close(got, expected, what)
            raise LawViolation(f"{what}: are not the same to the bit")


@dataclass(frozen=True)
class Law:
    """One law.

    Attributes:
        number: Of the law of the library's design to which it belongs.
        name: By which it is called.
        says: What must hold, in one line.
        check: Looks at one trial.
        shapes: On which it can be checked.
        drawn: Whether its cases are drawn; otherwise it is checked on one case for each shape.
        few: Whether it is slow, and checked on fewer cases.
    """

    number: int
    name: str
    says: str
    check: Callable[[Trial], None]
    shapes: tuple[str, ...] = ALL
    drawn: bool = True
    few: bool = False


def law(
    number: int,
    name: str,
    *,
    shapes: tuple[str, ...] = ALL,
    drawn: bool = True,
    few: bool = False,
) -> Callable[[Callable[[Trial], None]], Law]:
    """Make a law of a function, whose docstring says what must hold."""

    def make(check: Callable[[Trial], None]) -> Law:
        says = (check.__doc__ or "").strip().splitlines()[0]
        return Law(number, name, says, check, shapes, drawn, few)

    return make
