"""`module_checks`: one pytest test for each module and law."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import pytest
import torch

from seqlearn.spec import SequenceSpec
from seqlearn.testing.checking import check_names, make_report, run_law, select_laws
from seqlearn.testing.definition import Law
from seqlearn.testing.laws import LAWS
from seqlearn.testing.module_under_test import Factory, ModuleUnderTest
from seqlearn.testing.report import LawsViolated

_Test = TypeVar("_Test", bound=Callable[..., Any])


def module_checks(
    factories: Sequence[Factory] | Mapping[str, Factory],
    *,
    expected_failures: Mapping[str, str] | None = None,
    laws: Iterable[str | int | Law] | None = None,
    examples: int = 25,
    seed: int = 0,
    zero_gradients: Iterable[str] = (),
    tasks: Mapping[str, SequenceSpec] | None = None,
) -> Callable[[_Test], _Test]:
    """Turn a function that takes a `check` into one pytest test for each module and law.

        @module_checks([MyModel], expected_failures={"bf16": "computes in single precision only"})
        def test_laws(check):
            check()

    A law that cannot be checked is skipped, with the reason.

    Args:
        factories: Builds each module; a mapping names the tests.
        expected_failures: By name of a law, why the modules violate it. This is strict: the test of
            such a law fails if the law holds or cannot be checked.
        laws: As in `check_module`, with laws of your own.
        examples: As in `check_module`.
        seed: As in `check_module`.
        zero_gradients: As in `check_module`.
        tasks: As in `check_module`.

    Raises:
        ValueError: If there is no such law.

    Examples:
        >>> import seqlearn as sl
        >>> from seqlearn.testing import module_checks
        >>> models = {"rnn": lambda spec: sl.RNN(spec, d_model=4)}
        >>> @module_checks(models, laws=["shapes", "causality"])
        ... def test_laws(check):
        ...     check()
        >>> [test.id for test in test_laws.pytestmark[0].args[1]]
        ['rnn-2-shapes', 'rnn-4-causality']
    """
    expected = dict(expected_failures or {})
    chosen, patterns = select_laws(laws), tuple(zero_gradients)
    check_names(list(expected), [*LAWS, *chosen])
    named = factories if isinstance(factories, Mapping) else _named(factories)

    def check(module_under_test: Callable[[], ModuleUnderTest], law: Law) -> None:
        state = torch.get_rng_state()
        try:
            outcome = run_law(law, module_under_test(), examples, seed)
            report = make_report(module_under_test(), {law.name: outcome}, examples, seed)
        finally:
            torch.set_rng_state(state)
        if outcome.status == "violated":
            raise LawsViolated(report)
        if outcome.status == "not checked":
            reason = f"law {law.number}, {law.name}, is not checked: {outcome.reason}"
            if law.name in expected:
                pytest.fail(f"expected a violation ({expected[law.name]}), but {reason}")
            pytest.skip(reason)

    parameters = []
    for name, factory in named.items():
        module_under_test = functools.cache(
            functools.partial(ModuleUnderTest, factory, patterns, tasks)
        )
        for law in chosen:
            marks = []
            if law.name in expected:
                reason = expected[law.name]
                marks.append(pytest.mark.xfail(reason=reason, raises=LawsViolated, strict=True))
            one = functools.partial(check, module_under_test, law)
            title = f"{name}-{law.number}-{law.name.replace(' ', '_')}"
            parameters.append(pytest.param(one, id=title, marks=marks))
    return pytest.mark.parametrize("check", parameters)


def _named(factories: Sequence[Factory]) -> dict[str, Factory]:
    """Each factory by its name; one without a name, or with the name of another, by number."""
    named: dict[str, Factory] = {}
    for number, factory in enumerate(factories, 1):
        inner = factory.func if isinstance(factory, functools.partial) else factory
        name = getattr(inner, "__name__", "<lambda>").replace("<lambda>", "module")
        named[f"{name}{number}" if name == "module" or name in named else name] = factory
    return named
