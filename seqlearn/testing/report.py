"""The result of checking a module: a table of laws, and one error that lists all violations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.spec import SequenceSpec
from seqlearn.testing.cases import TASKS, batch_of
from seqlearn.testing.definition import Law
from seqlearn.testing.module_under_test import Factory, perturb


@dataclass(frozen=True)
class Counterexample:
    """A case that violates a law, shrunk as far as possible.

    Attributes:
        task: The name of the task, such as `"sequence-to-sequence"`.
        seed: The seed with which the module was built.
        drawn: Everything that was drawn, by name; the batch as `"examples"`.
        found: What was found.
        dtype: The dtype in which the module was tested.
        spec: The spec of the task; that of `TASKS`, if `None`.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.testing import Counterexample
        >>> case = Counterexample("language-modeling", 7, {"examples": [(None, [4, 5])]}, "NaN")
        >>> print(case)
        module: language-modeling, seed 7, float64; batch: None → [4, 5]
        >>> module, batch = case.build(lambda spec: sl.RNN(spec, d_model=4))
        >>> module(batch).isnan().any().item()
        False
    """

    task: str
    seed: int
    drawn: dict[str, Any]
    found: str
    dtype: torch.dtype = torch.float64
    spec: SequenceSpec | None = None

    def __str__(self) -> str:
        return "; ".join(f"{name}: {value}" for name, value in self.lines().items())

    def lines(self) -> dict[str, str]:
        """Its parts as text: the task, the batch that failed, and what else was drawn."""
        dtype = str(self.dtype).removeprefix("torch.")
        parts = {"module": f"{self.task}, seed {self.seed}, {dtype}"}
        if examples := self.drawn.get("examples"):
            shown = (f"{_plain(source)} → {_plain(target)}" for source, target in examples)
            parts["batch"] = "; ".join(shown)
        others = {name: value for name, value in self.drawn.items() if name != "examples"}
        if others:
            parts["drawn"] = ", ".join(f"{name} = {value}" for name, value in others.items())
        return parts

    def build(self, factory: Factory) -> tuple[SequenceModule, SequenceBatch | None]:
        """Build the module of the counterexample again, and its batch.

        The module is in eval mode and in the dtype of the test. As in most laws, small random
        numbers are added to its initial parameters.

        Args:
            factory: The factory that was checked.

        Returns:
            The module, and the batch of the examples, if there are any.
        """
        torch.manual_seed(self.seed)
        spec = self.spec or TASKS[self.task]
        module = factory(spec)
        perturb(module)
        examples = self.drawn.get("examples")
        batch = None if examples is None else batch_of(spec, examples, self.dtype)
        return module.to(self.dtype).eval(), batch


def _plain(value: Any) -> Any:
    """An array as lists, which print on one line."""
    return value.tolist() if hasattr(value, "tolist") else value


@dataclass(frozen=True)
class Outcome:
    """The result of one law.

    Attributes:
        law: The law.
        status: `"held"`, `"violated"` or `"not checked"`.
        cases: The number of cases.
        error: The largest difference, over all cases, between tensors that must be equal.
        reason: Why the law was not checked.
        counterexample: The case that violates it.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.testing import check_module
        >>> report = check_module(lambda spec: sl.RNN(spec, d_model=4), laws=["shapes"], examples=1)
        >>> outcome = report.outcomes["shapes"]
        >>> outcome.status, outcome.cases, outcome.counterexample
        ('held', 1, None)
    """

    law: Law
    status: Literal["held", "violated", "not checked"]
    cases: int = 0
    error: float = 0.0
    reason: str = ""
    counterexample: Counterexample | None = None


@dataclass
class Report:
    """The result of `check_module`; printed, a table.

    Attributes:
        name: The module's class.
        outcomes: The results by name of the law, in the order of the laws.
        serves: The tasks on which it was tested.
        refuses: By task, why it was not tested there.
        notes: Remarks, such as a limit on the length.
        repeat: The call of `check_module` that checks the violated laws on the same cases again.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.testing import check_module
        >>> report = check_module(lambda spec: sl.RNN(spec, d_model=4), laws=["shapes"], examples=1)
        >>> report.held, report.violated, report.not_checked
        (['shapes'], [], {})
        >>> print(str(report).splitlines()[0])
        RNN: 1 laws held, 0 violated, 0 not checked; 1 cases
    """

    name: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    serves: list[str] = field(default_factory=list)
    refuses: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    repeat: str = ""

    @property
    def violated(self) -> list[str]:
        """The names of the laws that do not hold."""
        return self._names("violated")

    @property
    def held(self) -> list[str]:
        """The names of the laws that hold."""
        return self._names("held")

    @property
    def not_checked(self) -> dict[str, str]:
        """By name, why a law could not be checked."""
        return {name: self.outcomes[name].reason for name in self._names("not checked")}

    @property
    def cases(self) -> int:
        """The number of cases of all laws."""
        return sum(outcome.cases for outcome in self.outcomes.values())

    def _names(self, status: str) -> list[str]:
        return [name for name, outcome in self.outcomes.items() if outcome.status == status]

    def __str__(self) -> str:
        counts = f"{len(self.held)} laws held, {len(self.violated)} violated"
        counts += f", {len(self.not_checked)} not checked; {self.cases} cases"
        lines = [f"{self.name}: {counts}", f"tested on {', '.join(self.serves)}"]
        lines += [f"not tested on {task} ({reason})" for task, reason in self.refuses.items()]
        lines += self.notes
        width = max((len(name) for name in self.outcomes), default=0) + 3
        lines.append(f"{'law':<{width}} {'outcome':<11} {'cases':>5}  largest error")
        for name, outcome in self.outcomes.items():
            title = f"{outcome.law.number:>2} {name}"
            figures = f"{outcome.cases:>5}  {outcome.error:.2g}"
            if outcome.status == "not checked":
                figures = f"    -  {outcome.reason}"
            lines.append(f"{title:<{width}} {outcome.status:<11} {figures}")
        return "\n".join(lines)


class LawsViolated(AssertionError):  # noqa: N818 -- a finding, not an error of the kit
    """A module violates laws; the message lists each with the batch that failed.

    Args:
        report: The report.

    Attributes:
        report: The report.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.testing import LawsViolated, check_module, law
        >>> @law(11, "width", drawn=False)
        ... def width(trial):
        ...     '''The width is at least 8.'''
        ...     trial.expect(trial.module().d_model >= 8, "it is less than 8")
        >>> try:
        ...     report = check_module(lambda spec: sl.RNN(spec, d_model=4), laws=[width])
        ... except LawsViolated as error:
        ...     error.report.violated, error.report.outcomes["width"].counterexample.found
        (['width'], 'it is less than 8')
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        lines = [f"{report.name} violates {len(report.violated)} of {len(report.outcomes)} laws"]
        for name in report.violated:
            outcome = report.outcomes[name]
            case = outcome.counterexample
            assert case is not None
            lines.append(f"law {outcome.law.number}, {name}: {outcome.law.says}")
            lines.append(f"    found   {case.found}")
            lines += [f"    {label:<7} {text}" for label, text in case.lines().items()]
            lines.append(f"    largest error {outcome.error:.3g} in {outcome.cases} cases")
        super().__init__("\n".join([*lines, f"repeat it with {report.repeat}", "", str(report)]))
