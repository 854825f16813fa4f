"""`check_module`: check a module against the laws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import hypothesis
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqlearn.spec import SequenceSpec
from seqlearn.testing.cases import TASKS
from seqlearn.testing.definition import Law
from seqlearn.testing.laws import LAWS
from seqlearn.testing.module_under_test import Factory, ModuleUnderTest, first_line
from seqlearn.testing.report import Counterexample, LawsViolated, Outcome, Report
from seqlearn.testing.strategies import seeds
from seqlearn.testing.trial import LawViolation, NotApplicable, Trial

MAX_SLOW_CASES = 20
"""The most cases of a slow law."""


def check_module(
    factory: Factory,
    *,
    laws: Iterable[str | int | Law] | None = None,
    examples: int = 25,
    seed: int = 0,
    zero_gradients: Iterable[str] = (),
    tasks: Mapping[str, SequenceSpec] | None = None,
) -> Report:
    """Check a module against the laws that apply to it.

        report = check_module(lambda spec: MyModel(spec, d_model=8))
        print(report)

    The module is built for six small specs (`TASKS`), or those of `tasks`. Hypothesis draws the
    cases, and shrinks a case that violates a law before it is reported. Short texts and narrow
    modules find faults as well as long and wide ones, and faster.

    Args:
        factory: Builds a module for a spec. A `ValueError` says that it does not serve this spec.
        laws: The laws to check, each by name, by number or as a `Law` of your own
            (`[*LAWS, my_law]`); all of `LAWS`, if `None`.
        examples: Cases to draw for each law. Laws that train take a fifth, 20 at most; those that
            draw nothing take one for each task, more from 100 examples on.
        seed: The seed with which the cases are drawn.
        zero_gradients: Patterns (regular expressions) of names of parameters whose gradient is
            zero by mathematics, such as the bias of the keys.
        tasks: The specs on which it is checked, by a name for each, with types of your own for
            example; `TASKS`, if `None`.

    Returns:
        The report, if no law is violated.

    Raises:
        LawsViolated: If laws are violated: one error that lists them all.
        ValueError: If there is no such law, two laws have one name, or the factory serves no spec.
        TypeError: If the factory is a module or builds anything but a `SequenceModule`, `laws` is
            not a list, `tasks` is not a mapping of specs, or a law returns anything but `None`.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.testing import check_module
        >>> check_module(lambda spec: sl.RNN(spec, d_model=4), laws=["shapes"], examples=1).held
        ['shapes']
    """
    chosen = select_laws(laws)
    state = torch.get_rng_state()
    try:
        module_under_test = ModuleUnderTest(factory, tuple(zero_gradients), tasks)
        outcomes = {each.name: run_law(each, module_under_test, examples, seed) for each in chosen}
    finally:
        torch.set_rng_state(state)
    report = make_report(module_under_test, outcomes, examples, seed)
    if report.violated:
        raise LawsViolated(report)
    return report


def make_report(
    module_under_test: ModuleUnderTest, outcomes: dict[str, Outcome], examples: int, seed: int
) -> Report:
    """Build the report of a module."""
    # Seqlearn's laws by name; a user's by the name of its function, as it is imported.
    violated = [
        repr(name) if outcome.law in LAWS else outcome.law.check.__name__
        for name, outcome in outcomes.items()
        if outcome.status == "violated"
    ]
    repeat = f"check_module(factory, laws=[{', '.join(violated)}], examples={examples}, seed={seed}"
    if module_under_test.zero_gradients:
        repeat += f", zero_gradients={list(module_under_test.zero_gradients)}"
    if module_under_test.tasks != TASKS:
        repeat += ", tasks=tasks"
    return Report(
        module_under_test.name,
        outcomes,
        module_under_test.serves,
        module_under_test.refuses,
        module_under_test.notes,
        f"{repeat})",
    )


def select_laws(selection: Iterable[str | int | Law] | None) -> list[Law]:
    """The selected laws: those of `LAWS` in the order of their numbers, then a user's own.

    Args:
        selection: Names, numbers and laws; all of `LAWS`, if `None`.

    Raises:
        ValueError: If there is no such law, or two have one name.
    """
    if selection is None:
        return list(LAWS)
    if isinstance(selection, str | int | Law):
        raise TypeError(f"expected laws as a list, got {selection!r}; pass laws=[…]")
    selected = list(selection)
    own = [each for each in selected if isinstance(each, Law) and each not in LAWS]
    known = [*LAWS, *own]
    check_names([each for each in selected if not isinstance(each, Law)], known)
    names = [law.name for law in known]
    for law in own:
        if names.count(law.name) > 1:
            raise ValueError(
                f"expected a law with a name of its own, got {law.name!r}, which another law has"
            )
    return [each for each in known if {each, each.name, each.number} & set(selected)]


def check_names(names: Sequence[str | int], known: Sequence[Law]) -> None:
    """Raise unless each is the name or number of a known law.

    Raises:
        ValueError: If one is not; the message lists the known laws.
    """
    for name in names:
        if name not in {law.name for law in known} | {law.number for law in known}:
            numbers = ", ".join(map(str, sorted({law.number for law in known})))
            listed = ", ".join(law.name for law in known)
            raise ValueError(
                f"expected laws by number ({numbers}), by name ({listed}) or as Law objects, got "
                f"{name!r}"
            )


def run_law(law: Law, module_under_test: ModuleUnderTest, examples: int, seed: int) -> Outcome:
    """Check one law on the given number of cases, or until it is violated."""
    specs = module_under_test.tasks
    tasks = [
        task
        for task in module_under_test.serves
        if specs[task].target.needs_decoder or not law.generates
    ]
    if not tasks:
        return Outcome(law, "not checked", reason="it serves no target that a decoder generates")
    runner = LawRunner(law, module_under_test)
    try:
        if law.drawn:
            count = max(1, min(MAX_SLOW_CASES, examples // 5)) if law.slow else examples
            draw_cases(runner, tasks, count, seed)
        else:
            # One for each task; more only where very many cases are requested.
            count = max(1, min(MAX_SLOW_CASES, examples // 50))
            for number in range(count):
                for task in tasks:
                    runner.run(Trial(module_under_test, task, seed + number, None))
    except LawViolation:
        assert runner.counterexample is not None
        return Outcome(law, "violated", runner.cases, runner.error, "", runner.counterexample)
    if runner.cases == 0:
        return Outcome(law, "not checked", reason=runner.reason)
    return Outcome(law, "held", runner.cases, runner.error)


class LawRunner:
    """Checks one law on trial after trial.

    Attributes:
        cases: The number of trials to which the law applied.
        reason: Why it did not apply to the last other trial.
        error: The largest difference so far.
        counterexample: The last case that violated the law; in the end, the smallest.
    """

    def __init__(self, law: Law, module_under_test: ModuleUnderTest) -> None:
        self.law, self.under_test = law, module_under_test
        self.cases, self.reason, self.error = 0, "", 0.0
        self.counterexample: Counterexample | None = None

    def run(self, trial: Trial) -> None:
        """Check one trial; a trial to which the law does not apply is not counted.

        Raises:
            LawViolation: If the law does not hold.
        """
        try:
            result: object = self.law.check(trial)  # type: ignore[func-returns-value]
        except NotApplicable as reason:
            self.reason = str(reason)
        except hypothesis.errors.HypothesisException:
            raise  # how hypothesis ends a case
        except LawViolation as finding:
            self._store(trial, str(finding))
            raise
        except Exception as error:
            self._store(trial, f"it raised {first_line(error)}")
            raise LawViolation from error
        else:
            self.cases += 1
            if result is not None:
                raise TypeError(
                    f"law {self.law.name!r}: expected a function that returns None, got "
                    f"{result!r}; check a condition with trial.expect(condition, found)"
                )
        finally:
            self.error = max(self.error, trial.error)

    def _store(self, trial: Trial, found: str) -> None:
        self.cases += 1
        drawn = dict(trial.drawn)
        self.counterexample = Counterexample(
            trial.task, trial.seed, drawn, found, trial.module_dtype, trial.spec
        )


def draw_cases(runner: LawRunner, tasks: list[str], count: int, seed: int) -> None:
    """Draw cases with hypothesis, which shrinks one that violates the law.

    Raises:
        LawViolation: If the law does not hold.
    """

    @hypothesis.seed(seed)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        derandomize=False,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    @given(st.sampled_from(tasks), seeds(), st.data())
    def run(task: str, number: int, data: Any) -> None:
        runner.run(Trial(runner.under_test, task, number, data.draw))

    try:
        run()
    except hypothesis.errors.Flaky as error:
        # Different results for the same trial violate the law too.
        raise LawViolation from error
