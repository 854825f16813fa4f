"""What a law checks: a trial, one module on one drawn case."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

import torch
from hypothesis import strategies as st
from torch import Tensor

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.spec import SequenceSpec
from seqlearn.testing.cases import LONGEST, Example, batch_of, cut_examples, rich_examples
from seqlearn.testing.module_under_test import ModuleUnderTest, perturb
from seqlearn.testing.strategies import examples

_TOLERANCE = {torch.float64: (1e-9, 1e-7), torch.float32: (1e-4, 1e-4)}

_Drawn = TypeVar("_Drawn")


class LawViolation(Exception):  # noqa: N818 -- a finding, not an error of the kit
    """A law does not hold; the message says what was found.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.testing import LawViolation, check_module, law
        >>> @law(11, "finite parameters", drawn=False)
        ... def finite_parameters(trial):
        ...     '''All parameters are finite.'''
        ...     if not all(p.isfinite().all() for p in trial.module().parameters()):
        ...         raise LawViolation("a parameter is not finite")
        >>> check_module(lambda spec: sl.RNN(spec, d_model=4), laws=[finite_parameters]).held
        ['finite parameters']
    """


class NotApplicable(Exception):  # noqa: N818 -- as above
    """A law does not apply to this trial; the message says why.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.testing import NotApplicable, check_module, law
        >>> @law(11, "gates", drawn=False)
        ... def gates(trial):
        ...     '''Gates lie between 0 and 1.'''
        ...     if not hasattr(trial.module(), "gates"):
        ...         raise NotApplicable("the module has no gates")
        >>> check_module(lambda spec: sl.RNN(spec, d_model=4), laws=[gates]).not_checked
        {'gates': 'the module has no gates'}
    """


class Trial:
    """One module on one case.

    Args:
        module_under_test: The module under test.
        task: The name of the task, a key of `module_under_test.tasks`.
        seed: The seed with which the module is built.
        draw: Draws from a hypothesis strategy; `None` for a law that draws nothing.

    Attributes:
        error: The largest difference that was measured.
        drawn: The drawn values by name, in the order of drawing; for a law that draws nothing, the
            examples of the batch that it checks.
        module_dtype: The dtype of the module that was built last.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.testing import check_module, law
        >>> @law(11, "finite outputs", drawn=False)
        ... def finite_outputs(trial):
        ...     '''All outputs are finite.'''
        ...     outputs = trial.module()(trial.batch(trial.rich()))
        ...     trial.expect(outputs.isfinite().all(), "an output is not finite")
        >>> check_module(lambda spec: sl.RNN(spec, d_model=4), laws=[finite_outputs]).held
        ['finite outputs']
    """

    def __init__(
        self,
        module_under_test: ModuleUnderTest,
        task: str,
        seed: int,
        draw: Callable[..., Any] | None,
    ) -> None:
        self.under_test, self.task, self.seed = module_under_test, task, seed
        self._draw = draw
        self.error = 0.0
        self.drawn: dict[str, Any] = {}
        self.module_dtype = self.dtype
        torch.manual_seed(seed)

    @property
    def spec(self) -> SequenceSpec:
        """The types of source and target."""
        return self.under_test.tasks[self.task]

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of all computation, unless a law chooses another."""
        return self.under_test.dtype

    @property
    def sequence_source(self) -> bool:
        """Whether the source is a sequence, such as a text."""
        return self.spec.source is not None and self.spec.source.is_sequence

    @property
    def generates(self) -> bool:
        """Whether a decoder generates the target, such as a text."""
        return self.spec.target.needs_decoder

    def draw(self, strategy: st.SearchStrategy[_Drawn], label: str) -> _Drawn:
        """Draw a value; the label names it in a counterexample."""
        assert self._draw is not None
        drawn: _Drawn = self._draw(strategy, label)
        self.drawn[label] = drawn
        return drawn

    def module(
        self, *, training: bool = False, perturbed: bool = True, dtype: torch.dtype | None = None
    ) -> SequenceModule:
        """Build the module; every call builds the same one.

        Args:
            training: Whether it is in training mode.
            perturbed: Whether small random numbers are added to its initial parameters.
            dtype: The dtype of its parameters; that of the trial, if `None`.
        """
        state = torch.get_rng_state()
        module = self.under_test.build(self.spec, self.seed)
        if perturbed:
            perturb(module)
        torch.set_rng_state(state)
        self.module_dtype = dtype or self.dtype
        return module.to(self.module_dtype).train(training)

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
        """Build the batch of these examples; the report names the last one a law built."""
        if self._draw is None:
            self.drawn["examples"] = drawn
        return batch_of(self.spec, drawn, dtype or self.dtype)

    def rich(self) -> list[Example]:
        """Four different examples, cut to the lengths that the module accepts."""
        return cut_examples(
            self.spec,
            rich_examples(self.spec),
            source=self.under_test.widest_source,
            target=self.under_test.widest_target - 2,
        )

    def garbage(self, size: int, width: int, *, target: bool) -> Tensor:
        """A batch `size width …` of random sources or targets of one length, without padding.

        Args:
            size: Number of examples.
            width: Number of positions, those that `collate_targets` adds included.
            target: Whether they are targets.
        """
        side, device, rng = self.spec.source, torch.device("cpu"), Random(self.seed)

        def make(length: int) -> Tensor:
            if target or side is None:
                rows = [self.spec.target.random_value(rng, length) for _ in range(size)]
                return self.spec.target.collate_targets(rows, device, self.dtype)[0]
            rows = [side.random_value(rng, length) for _ in range(size)]
            return side.collate(rows, device, self.dtype)[0]

        return make(width - make(0).shape[1])

    # Comparisons, which raise LawViolation

    def expect(self, holds: object, message: str) -> None:
        """Report a violation unless `holds`.

        Raises:
            LawViolation: With this message.
        """
        if not holds:
            raise LawViolation(message)

    def close(self, got: Tensor, expected: Tensor, label: str) -> None:
        """Report a violation unless both are equal within the tolerance of their dtype.

        The tolerance is 1e-9 absolute and 1e-7 relative in float64, 1e-4 and 1e-4 in other dtypes.

        Args:
            got: What was computed, of any shape.
            expected: What it must equal, of the same shape; its dtype decides the tolerance.
            label: What is compared, for the message.

        Raises:
            LawViolation: With the largest difference and its index.
        """
        self.expect(
            got.shape == expected.shape,
            f"{label}: expected the shape {tuple(expected.shape)}, got {tuple(got.shape)}",
        )
        if got.numel() == 0:
            return
        absolute, relative = _TOLERANCE.get(expected.dtype, _TOLERANCE[torch.float32])
        # Equal infinities are equal; NaN equals nothing.
        difference = (got - expected).abs().masked_fill(got == expected, 0.0)
        difference = difference.nan_to_num(math.inf, posinf=math.inf)
        worst = float(difference.max())
        self.error = max(self.error, worst)
        size = expected.abs().nan_to_num(0.0, posinf=0.0)
        if bool((difference > absolute + relative * size).any()):
            index = torch.unravel_index(difference.argmax(), difference.shape)
            where = ", ".join(str(int(axis)) for axis in index)
            raise LawViolation(
                f"{label}: differ by {worst:.3g} (at index [{where}] of shape {list(got.shape)})"
            )

    def zero(self, tensor: Tensor, label: str) -> None:
        """Report a violation unless every value of a tensor of any shape is exactly zero.

        Raises:
            LawViolation: With the largest absolute value.
        """
        if tensor.numel() == 0:
            return
        worst = float(tensor.abs().nan_to_num(math.inf, posinf=math.inf).max())
        self.error = max(self.error, worst)
        self.expect(worst == 0, f"{label}: expected zero, got {worst:.3g}")

    def same(self, got: Tensor, expected: Tensor, label: str) -> None:
        """Report a violation unless two tensors of any shape are equal to the bit.

        Raises:
            LawViolation: With the largest difference.
        """
        if not torch.equal(got, expected):
            self.close(got, expected, label)
            raise LawViolation(f"{label}: are not equal to the bit")
