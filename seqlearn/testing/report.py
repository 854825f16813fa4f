"""What was found: a table of laws, and the one error that lists all that are broken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.testing.cases import SHAPES, batch_of
from seqlearn.testing.law import Law
from seqlearn.testing.module_under_test import Factory, perturb


@dataclass(frozen=True)
class Counterexample:
    """A case on which a law does not hold, as small as it could be made.

    Attributes:
        shape: The name of the shape, such as `"sequence-to-sequence"`.
        seed: From which the module was built.
        drawn: All that was drawn, by name; `"examples"` among them, where there are any.
        found: What was seen.
        dtype: In which the module was tried.
    """

    shape: str
    seed: int
    drawn: dict[str, Any]
    found: str
    dtype: torch.dtype = torch.float64

    def __str__(self) -> str:
        words = [f"{self.shape}, seed {self.seed}"]
        words += [f"{name} {value}" for name, value in self.drawn.items()]
        return "; ".join(words)

    def build(self, factory: Factory) -> tuple[SequenceModule, SequenceBatch | None]:
        """Make the module of the counterexample again, and its batch.

        The module is in `eval` and in the precision in which it was tried, double if it can; its
        parameters are where most laws have them, moved a little from where they start.

        Args:
            factory: What was checked.

        Returns:
            The module, and the batch of the examples, if the law drew any.
        """
        torch.manual_seed(self.seed)
        spec = SHAPES[self.shape]
        module = factory(spec)
        perturb(module)
        examples = self.drawn.get("examples")
        batch = None if examples is None else batch_of(spec, examples, self.dtype)
        return module.to(self.dtype).eval(), batch


@dataclass(frozen=True)
class Outcome:
    """What was found of one law.

    Attributes:
        law: The law.
        status: `"held"`, `"broken"` or `"not checked"`.
        cases: How many cases were tried.
        error: The greatest difference between what must be the same, over all cases.
        reason: Why it is not checked.
        counterexample: Where it is broken.
    """

    law: Law
    status: Literal["held", "broken", "not checked"]
    cases: int = 0
    error: float = 0.0
    reason: str = ""
    counterexample: Counterexample | None = None


@dataclass
class Report:
    """What `check_module` found; printed, a table.

    Attributes:
        name: The module's class.
        outcomes: By the name of the law what was found, in the order of the laws.
        serves: The shapes on which it was tried.
        refuses: By shape why it was not tried there.
        notes: What else a reader should know.
        repeat: The arguments of `check_module` that give the same cases again.
    """

    name: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    serves: list[str] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    repeat: str = ""

    @property
    def broken(self) -> list[str]:
        """The names of the laws that do not hold."""
        return self._names("broken")

    @property
    def held(self) -> list[str]:
        """The names of the laws that hold."""
        return self._names("held")

    @property
    def not_checked(self) -> dict[str, str]:
        """By law why it could not be checked."""
        return {name: self.outcomes[name].reason for name in self._names("not checked")}

    @property
    def cases(self) -> int:
        """Cases tried, over all laws."""
        return sum(outcome.cases for outcome in self.outcomes.values())

    def _names(self, status: str) -> list[str]:
        return [name for name, outcome in self.outcomes.items() if outcome.status == status]

    def __str__(self) -> str:
        counts = f"{len(self.held)} laws held, {len(self.broken)} broken"
        counts += f", {len(self.not_checked)} not checked; {self.cases} cases"
        lines = [f"{self.name}: {counts}", f"tried on {', '.join(self.serves)}"]
        lines += [f"not on {shape} ({reason})" for shape, reason in self.refuses.items()]
        lines += self.notes
        width = max((len(name) for name in self.outcomes), default=0) + 3
        lines.append(f"{'law':<{width}} {'outcome':<11} {'cases':>5}  greatest error")
        for name, outcome in self.outcomes.items():
            title = f"{outcome.law.number:>2} {name}"
            figures = f"{outcome.cases:>5}  {outcome.error:.2g}"
            if outcome.status == "not checked":
                figures = f"    -  {outcome.reason}"
            lines.append(f"{title:<{width}} {outcome.status:<11} {figures}")
        return "\n".join(lines)


class LawsViolated(AssertionError):  # noqa: N818 -- a finding, not an error of the kit
    """A module breaks laws; the message lists each with its counterexample.

    Args:
        report: What was found.

    Attributes:
        report: What was found.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        lines = [f"{report.name} breaks {len(report.broken)} of {len(report.outcomes)} laws"]
        for name in report.broken:
            outcome = report.outcomes[name]
            case = outcome.counterexample
            assert case is not None
            lines += [
                f"law {outcome.law.number}, {name}: {outcome.law.says}",
                f"    found    {case.found}",
                f"    with     {case}",
                f"    greatest error {outcome.error:.3g} in {outcome.cases} cases",
            ]
        super().__init__("\n".join([*lines, f"repeat it with {report.repeat}", "", str(report)]))
