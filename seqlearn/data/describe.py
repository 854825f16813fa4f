"""The `repr` of a data module."""

from __future__ import annotations

from seqlearn.data.fields import Field
from seqlearn.data.preparation import SPLITS, Prepared


def describe(
    name: str,
    source: Field | None,
    target: Field,
    settings: dict[str, int | None],
    done: Prepared | None,
) -> str:
    """Format the `repr` of a data module, without preparing its data.

    Args:
        name: Name of the class.
        source: Field of the source, if there is one.
        target: Field of the target.
        settings: Further arguments to show.
        done: The prepared data, if it is prepared.

    Examples:
        >>> from seqlearn.data import Text
        >>> print(describe("Dates", Text("char"), Text("bpe"), {"seed": 0}, None))
        Dates(source=Text('char'), target=Text('bpe'), seed=0)
          not prepared
    """
    joint = ", joint vocabulary" if source is target else ""
    arguments = ", ".join(f"{key}={value}" for key, value in settings.items())
    lines = [f"{name}(source={source!r}, target={target!r}{joint}, {arguments})"]
    if done is None:
        return f"{lines[0]}\n  not prepared"
    sizes = [f"{split} {len(done.datasets[split]):,}" for split in SPLITS]
    lines.append(f"  examples: {', '.join(sizes)}")
    lines.append(f"  source: {done.spec.source!r}")
    lines.append(f"  target: {done.spec.target!r}")
    return "\n".join(lines)
