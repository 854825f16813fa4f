"""What a data module holds, in a few lines."""

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
    """The `repr` of a data module; it prepares nothing.

    Args:
        name: The class.
        source: The field of the source, if there is one.
        target: The field of the target.
        settings: Other arguments that are shown.
        done: What was prepared, if it was.

    Example:
        >>> from seqlearn.data import Text
        >>> print(describe("Dates", Text("char"), Text("bpe"), {"seed": 0}, None))
        Dates(source=Text('char'), target=Text('bpe'), seed=0)
          not prepared
    """
    joint = ", joint vocabulary" if source is target else ""
    said = ", ".join(f"{key}={value}" for key, value in settings.items())
    lines = [f"{name}(source={source!r}, target={target!r}{joint}, {said})"]
    if done is None:
        return f"{lines[0]}\n  not prepared"
    sizes = [f"{split} {len(done.datasets[split]):,}" for split in SPLITS]
    lines.append(f"  examples: {', '.join(sizes)}")
    lines.append(f"  source: {done.spec.source!r}")
    lines.append(f"  target: {done.spec.target!r}")
    return "\n".join(lines)
