"""The kinds of activations that can be recorded; a user registers more."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from seqlearn.instrumentation import add_kind


def _identity(tensor: Tensor) -> Tensor:
    """A tensor of any shape as it is."""
    return tensor


@dataclass(frozen=True)
class RecordedKind:
    """A kind of activation, such as attention weights or hidden states.

    Attributes:
        name: Its name: the `kind` of `sl.probe` and an entry of `record(what=…)`.
        axes: The axes of an emitted tensor: `("batch", "time", …)` or
            `("batch", …, "query", "key")`, three or four in all. The second to last axis has one
            position for each input of the module. If the last axis is called `"key"`, both follow
            a sequence, as in attention; otherwise the last axis is a vector.
        over_steps: How the tensors of successive decoding steps are combined along the second to
            last axis: `"concatenate"`, or `"last"` to keep the last step of each output.
        expose: Computes what the recording holds from the combined tensor.
        padding: The value of positions that an example does not have.
        label: What it is called in messages, in the plural.

    Examples:
        >>> RecordedKind("my attention", ("batch", "heads", "query", "key")).has_keys
        True
    """

    name: str
    axes: tuple[str, ...]
    over_steps: Literal["concatenate", "last"] = "concatenate"
    expose: Callable[[Tensor], Tensor] = field(default=_identity, compare=False)
    label: str = ""
    padding: float = 0.0

    @property
    def has_keys(self) -> bool:
        """Whether the last axis follows a sequence, as the keys of attention do."""
        return self.axes[-1] == "key"

    @property
    def text(self) -> str:
        """What it is called in messages."""
        return self.label or self.name


KINDS: dict[str, RecordedKind] = {
    "attention": RecordedKind(
        "attention", ("batch", "heads", "query", "key"), label="attention weights"
    ),
    "states": RecordedKind("states", ("batch", "time", "width")),
    "gates": RecordedKind("gates", ("batch", "time", "width")),
}
"""All kinds by name; `register_kind` adds to them."""

BUILT_IN = tuple(KINDS)
"""The kinds that `record` captures by default."""

_HEADS = ("batch", "heads", "time", "width")
_TIME = ("batch", "time", "width")
KINDS |= {
    kind.name: kind
    for kind in (
        RecordedKind(
            "scores",
            ("batch", "heads", "query", "key"),
            label="attention scores",
            padding=-math.inf,
        ),
        RecordedKind("queries", _HEADS),
        RecordedKind("keys", _HEADS, over_steps="last"),
        RecordedKind("values", _HEADS, over_steps="last"),
        RecordedKind("contributions", _TIME),
        RecordedKind("positions", _TIME, label="position encodings"),
    )
}

DETAILED = tuple(KINDS)
"""Every kind that modules of seqlearn report: `record(model, what=introspect.DETAILED)`.

Beside the three kinds of the default:

- `scores`: what attention takes the softmax of, `batch heads query key`; −∞ where a query may not
  attend to a key, and at padding.
- `queries`, `keys`, `values`: the vectors that attention multiplies, `batch heads time width`; with
  rotary positions, queries and keys after the rotation. These four also of other libraries' modules
  that call `scaled_dot_product_attention`.
- `contributions`: the terms of the sum inside the tanh of an RNN, `batch time width`: W x_t as
  `"<module>.input"`, U h_{t-1} as `"<module>.state"`, b as `"<module>.bias"`.
- `positions`: what a Transformer adds to its embeddings, `batch time width`.

They are computed only where they are recorded. Each is in `Recording.extra`.
"""

OF_ATTENTION = {"attention", "scores", "queries", "keys", "values"}
"""The kinds that an attention function reports."""

for _name in DETAILED:
    add_kind(_name)


def register_kind(kind: RecordedKind) -> RecordedKind:
    """Register a kind of activation, so that `record(what=…)` accepts its name.

    Modules report it with `sl.probe(name, tensor, kind)` or `seqlearn.instrumentation.emit`; the
    recording holds it as `recording[kind][module]`. Registering the same kind again, as when a
    notebook cell runs twice, replaces it.

    Args:
        kind: The kind.

    Returns:
        The kind.

    Raises:
        TypeError: If it is not a `RecordedKind`, or its axes or `expose` have the wrong type.
        ValueError: If its name is taken, empty or contains "/", its axes are not three or four that
            begin with `"batch"`, or `over_steps` is neither of the two.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> from seqlearn.introspect import RecordedKind, register_kind
        >>> kind = register_kind(RecordedKind("surprisal", ("batch", "time", "width")))
        >>> with sl.record(torch.nn.Identity(), what=["surprisal"]) as recording:
        ...     values = sl.probe("head", torch.ones(2, 3, 1), "surprisal")
        >>> recording["surprisal"]["head"].shape
        torch.Size([2, 3, 1])
    """
    if not isinstance(kind, RecordedKind):
        raise TypeError(f"expected a RecordedKind(name, axes), got {kind!r}")
    if not isinstance(kind.name, str) or not kind.name:
        raise ValueError(f"expected a string that is not empty as the name, got {kind.name!r}")
    if not isinstance(kind.axes, tuple) or not all(isinstance(axis, str) for axis in kind.axes):
        raise TypeError(
            f'{kind.name}: expected axes as a tuple of names, such as ("batch", "time", "width"), '
            f"got {kind.axes!r}"
        )
    if kind.over_steps not in ("concatenate", "last"):
        raise ValueError(
            f"{kind.name}: expected over_steps 'concatenate' or 'last', got {kind.over_steps!r}"
        )
    if not callable(kind.expose):
        raise TypeError(f"{kind.name}: expected expose to be a function, got {kind.expose!r}")
    if KINDS.get(kind.name, kind) != kind:
        raise ValueError(f"expected a new kind, got {kind.name!r}, which is registered already")
    if len(kind.axes) not in (3, 4) or kind.axes[0] != "batch" or "/" in kind.name:
        raise ValueError(
            'expected a name without "/" and three or four axes, the first "batch", got '
            f"{kind.name!r} with {kind.axes!r}"
        )
    KINDS[kind.name] = kind
    add_kind(kind.name)
    return kind
