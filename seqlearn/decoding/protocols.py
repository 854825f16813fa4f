"""What decoding asks of a model, and what it asks of the caller."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.batch import PAD, START, UNKNOWN, Memory
from seqlearn.nn.protocols import State
from seqlearn.spec import TextSpec

SUPPRESSED = (PAD, START)
"""The ids that no decoding generates."""


@runtime_checkable
class NextToken(Protocol):
    """What decoding needs of a model."""

    def __call__(
        self, tokens: Int[Tensor, "batch time"], memory: Memory | None, state: State | None
    ) -> tuple[Float[Tensor, "batch vocab"], State]:
        """Read more tokens; answer with the logits of the next one, and the new state."""
        ...


def suppressed_tokens(target: TextSpec) -> tuple[int, ...]:
    """The ids that are never generated for this target, as Hugging Face's `suppress_tokens`.

    Padding and the start symbol; and the unknown symbol where training never showed it, for its
    logit is then no prediction.

    Args:
        target: What is generated.
    """
    return SUPPRESSED if target.unk_in_training else (*SUPPRESSED, UNKNOWN)


def check_max_new_tokens(max_new_tokens: int) -> None:
    """Refuse a limit that leaves no room for a token.

    Raises:
        ValueError: If `max_new_tokens` is below one.
    """
    if max_new_tokens < 1:
        raise ValueError(f"expected a max_new_tokens of at least 1 token, got {max_new_tokens}")
