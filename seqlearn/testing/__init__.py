"""Conformance tests: the laws that every module must satisfy, and what checks them.

Needs the extra `testing`: `pip install -c constraints.txt '.[testing]'` in a clone of seqlearn.
"""

from __future__ import annotations

try:
    from seqlearn.testing import strategies
    from seqlearn.testing.cases import TASKS, batch_of
    from seqlearn.testing.checking import check_module
    from seqlearn.testing.definition import Law, law
    from seqlearn.testing.laws import LAWS
    from seqlearn.testing.parametrized import module_checks
    from seqlearn.testing.report import Counterexample, LawsViolated, Outcome, Report
    from seqlearn.testing.trial import LawViolation, NotApplicable, Trial
except ModuleNotFoundError as error:
    if error.name not in ("hypothesis", "pytest"):
        raise
    raise ModuleNotFoundError(
        f"seqlearn.testing needs {error.name}, which is not installed; "
        "in a clone of seqlearn: pip install -c constraints.txt '.[testing]'",
        name=error.name,
    ) from error

__all__ = [
    "LAWS",
    "TASKS",
    "Counterexample",
    "Law",
    "LawViolation",
    "LawsViolated",
    "NotApplicable",
    "Outcome",
    "Report",
    "Trial",
    "batch_of",
    "check_module",
    "law",
    "module_checks",
    "strategies",
]
