"""`Law`, and `law`, the decorator that makes one from a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from seqlearn.testing.trial import Trial


@dataclass(frozen=True)
class Law:
    """One property that every module must have.

    Attributes:
        number: The number of the group in seqlearn's design to which the law belongs.
        name: Its name, by which `check_module` selects it.
        says: What must hold, in one sentence.
        check: Checks one trial.
        generates: Whether it needs a target that a decoder generates, such as text.
        drawn: Whether hypothesis draws its cases; otherwise it is checked on one case per task.
        slow: Whether it is slow, and so checked on fewer cases.

    Examples:
        >>> from seqlearn.testing import LAWS
        >>> next(law for law in LAWS if law.name == "causality").says
        'Changing later target tokens changes no earlier output, also in training mode.'
    """

    number: int
    name: str
    says: str
    check: Callable[[Trial], None]
    generates: bool = False
    drawn: bool = True
    slow: bool = False


def law(
    number: int,
    name: str,
    *,
    generates: bool = False,
    drawn: bool = True,
    slow: bool = False,
) -> Callable[[Callable[[Trial], None]], Law]:
    """Make a law from a function that checks one trial; its docstring says what must hold.

    The function builds a module with `trial.module()` and compares what it returns with
    `trial.expect`, `trial.close`, `trial.same` or `trial.zero`, which raise `LawViolation`. It
    raises `NotApplicable` where the law does not apply. Pass the law to `check_module` or
    `module_checks`, alone or beside seqlearn's own: `laws=[*LAWS, output_range]`.

    Args:
        number: The group of the law; laws of your own may have any number.
        name: Its name, which no other law has.
        generates: Whether it needs a target that a decoder generates, such as text.
        drawn: Whether it draws its cases, with `trial.examples()` and `trial.draw()`.
        slow: Whether it is slow, and so checked on fewer cases.

    Raises:
        ValueError: If the function has no docstring.

    Examples:
        >>> import torch
        >>> from seqlearn.testing import law
        >>> @law(11, "output range")
        ... def output_range(trial):
        ...     '''Outputs lie between -50 and 50.'''
        ...     module, batch = trial.module(), trial.batch(trial.examples())
        ...     with torch.no_grad():
        ...         largest = module(batch).abs().max().item()
        ...     trial.expect(largest < 50, f"an output of {largest:.3g}")
        >>> output_range.says
        'Outputs lie between -50 and 50.'
    """

    def make(check: Callable[[Trial], None]) -> Law:
        lines = (check.__doc__ or "").strip().splitlines()
        if not lines:
            raise ValueError(
                f"expected a docstring on {check.__name__} that says what law {name!r} demands, "
                "got none"
            )
        return Law(number, name, lines[0], check, generates, drawn, slow)

    return make
