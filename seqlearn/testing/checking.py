"""`check_module`: hold a module to the laws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hypothesis
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqlearn.testing.law import Law, LawViolation, NotApplicable, Trial
from seqlearn.testing.laws import LAWS
from seqlearn.testing.module_under_test import Factory, ModuleUnderTest, first_line
from seqlearn.testing.report import Counterexample, LawsViolated, Outcome, Report
from seqlearn.testing.strategies import seeds

MAX_SLOW_CASES = 20
"""Cases of a slow law at most."""


def check_module(
    factory: Factory,
    *,
    laws: Iterable[str | int] | None = None,
    examples: int = 25,
    seed: int = 0,
    zero_gradients: Iterable[str] = (),
) -> Report:
    """Hold a module to the laws that apply to it.

        report = check_module(lambda spec: MyModel(spec, d_model=8))
        print(report)

    It is tried on five small specs (`SHAPES`). Cases are drawn by hypothesis, and a case on which
    a law does not hold is made as small as possible before it is told. A few tokens and narrow
    modules find what is wrong as well as many and wide ones, and faster.

    Args:
        factory: Builds a module for a spec. A `ValueError` says that it does not serve this spec.
        laws: Names or numbers of the laws to check; all, if `None`.
        examples: Cases to draw for each law. Laws that train take a fifth, 20 at most; those that
            draw nothing take one for each shape, more from 100 examples on.
        seed: From which the cases are drawn.
        zero_gradients: Patterns (regular expressions) of names of parameters whose gradient is
            zero by mathematics, such as the bias of the keys.

    Returns:
        What was found, if no law is broken.

    Raises:
        LawsViolated: If laws are broken: one error that lists them all.
        ValueError: If there is no such law, or the factory serves no spec at all.
        TypeError: If the factory makes something else than a `SequenceModule`.
    """
    chosen = select_laws(laws)
    state = torch.get_rng_state()
    try:
        module_under_test = ModuleUnderTest(factory, tuple(zero_gradients))
        outcomes = {each.name: try_law(each, module_under_test, examples, seed) for each in chosen}
    finally:
        torch.set_rng_state(state)
    report = report_of(module_under_test, outcomes, examples, seed)
    if report.broken:
        raise LawsViolated(report)
    return report


def report_of(
    module_under_test: ModuleUnderTest, outcomes: dict[str, Outcome], examples: int, seed: int
) -> Report:
    """Put together what was found of a module."""
    broken = [name for name, outcome in outcomes.items() if outcome.status == "broken"]
    repeat = f"check_module(factory, laws={broken}, examples={examples}, seed={seed}"
    if module_under_test.zero_gradients:
        repeat += f", zero_gradients={list(module_under_test.zero_gradients)}"
    return Report(
        module_under_test.name,
        outcomes,
        module_under_test.serves,
        module_under_test.refuses,
        module_under_test.notes,
        f"{repeat})",
    )


def select_laws(names: Iterable[str | int] | None) -> list[Law]:
    """The laws of these names and numbers, in the order of their numbers.

    Raises:
        ValueError: If there is no such law; the message names those that there are.
    """
    if names is None:
        return list(LAWS)
    asked = list(names)
    known: set[str | int] = {each.name for each in LAWS} | {each.number for each in LAWS}
    for name in asked:
        if name not in known:
            there = ", ".join(each.name for each in LAWS)
            raise ValueError(f"expected laws by number (1 to 10) or name ({there}), got {name!r}")
    return [each for each in LAWS if each.name in asked or each.number in asked]


def try_law(law: Law, module_under_test: ModuleUnderTest, examples: int, seed: int) -> Outcome:
    """Try one law on as many cases, or until it is broken."""
    shapes = [shape for shape in module_under_test.serves if shape in law.shapes]
    if not shapes:
        needed = ", ".join(law.shapes)
        return Outcome(law, "not checked", reason=f"it serves none of {needed}")
    tried = LawRunner(law, module_under_test)
    try:
        if law.drawn:
            count = max(1, min(MAX_SLOW_CASES, examples // 5)) if law.few else examples
            draw_cases(tried, shapes, count, seed)
        else:
            # One for each shape; more only where very many are asked for.
            count = max(1, min(MAX_SLOW_CASES, examples // 50))
            for number in range(count):
                for shape in shapes:
                    tried.on(Trial(module_under_test, shape, seed + number, None))
    except LawViolation:
        assert tried.broken is not None
        return Outcome(law, "broken", tried.cases, tried.error, "", tried.broken)
    if tried.cases == 0:
        return Outcome(law, "not checked", reason=tried.reason)
    return Outcome(law, "held", tried.cases, tried.error)


class LawRunner:
    """What trying a law has shown so far.

    Attributes:
        cases: Trials of which it says something.
        reason: Why it says nothing of another trial, if there was one.
        error: The greatest difference.
        broken: The last case on which the law did not hold; the smallest, in the end.
    """

    def __init__(self, law: Law, module_under_test: ModuleUnderTest) -> None:
        self.law, self.under_test = law, module_under_test
        self.cases, self.reason, self.error = 0, "", 0.0
        self.broken: Counterexample | None = None

    def on(self, trial: Trial) -> None:
        """Check one trial; one of which the law says nothing does not count.

        Raises:
            LawViolation: If the law does not hold.
        """
        self.cases += 1
        try:
            self.law.check(trial)
        except NotApplicable as reason:
            self.cases -= 1
            self.reason = str(reason)
        except hypothesis.errors.HypothesisException:
            raise  # its own way of ending a case
        except LawViolation as finding:
            self._keep(trial, str(finding))
            raise
        except Exception as error:
            self._keep(trial, f"it raised {first_line(error)}")
            raise LawViolation from error
        finally:
            self.error = max(self.error, trial.error)

    def _keep(self, trial: Trial, found: str) -> None:
        words = dict(trial.drawn)
        self.broken = Counterexample(trial.shape, trial.seed, words, found, trial.dtype)


def draw_cases(tried: LawRunner, shapes: list[str], count: int, seed: int) -> None:
    """Draw cases by hypothesis; a case that breaks the law is made smaller.

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
    @given(st.sampled_from(shapes), seeds(), st.data())
    def run(shape: str, number: int, data: Any) -> None:
        tried.on(Trial(tried.under_test, shape, number, data.draw))

    try:
        run()
    except hypothesis.errors.Flaky as error:
        # Not the same at each trial: a finding too, where the trial is the same.
        raise LawViolation from error
