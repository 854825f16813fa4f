"""The logits of a large vocabulary, for some rows at a time and in memory that is used again.

The logits of all rows of a beam search are megabytes, of which only the best are needed. Computed
as a whole they leave the processor's cache before they are read, and each step asks the system for
their memory again, which costs as much time as the product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

LOGITS_AT_ONCE = 2**21
"""Logits that are computed at once on a CPU: 8 MB in single precision."""
LEAST_ROWS = 64
"""Rows at once, also of a large vocabulary: each part reads all weights of the output layer."""

_HOOKS = ("forward_hooks", "forward_pre_hooks")


class OutputLayer:
    """Computes logits from the vectors of the decoder.

    Args:
        head: From vectors to logits; `None` if the vectors are logits.

    Examples:
        >>> layer = OutputLayer(nn.Linear(4, 9))
        >>> [part.shape for part in layer.parts(torch.zeros(6, 4), multiple=3)]
        [torch.Size([6, 9])]
    """

    def __init__(self, head: Callable[[Tensor], Tensor] | None = None) -> None:
        self._head = head
        self._logits, self._scratch = torch.empty(0, 0), torch.empty(0, 0)

    def __call__(self, outputs: Float[Tensor, "rows width"]) -> Float[Tensor, "rows vocab"]:
        """The logits of all rows, in single precision at least."""
        logits = outputs if self._head is None else self._head(outputs)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def parts(self, outputs: Float[Tensor, "rows width"], multiple: int) -> Iterator[Tensor]:
        """The logits of some rows at a time; each part is valid until the next one.

        Args:
            outputs: The vectors.
            multiple: The number of rows of each part is a multiple of it.
        """
        linear = self._head
        if not isinstance(linear, nn.Linear) or not _is_plain(linear, outputs):
            yield self(outputs)
            return
        vocab = linear.out_features
        rows = max(LEAST_ROWS, LOGITS_AT_ONCE // vocab)
        rows = max(1, rows // multiple) * multiple
        for start in range(0, len(outputs), rows):
            part = outputs[start : start + rows]
            self._logits = _fitting(self._logits, len(part), vocab, outputs)
            logits = self._logits[: len(part)]
            bias: Tensor | None = linear.bias
            if bias is None:
                yield torch.mm(part, linear.weight.T, out=logits)
            else:
                yield torch.addmm(bias, part, linear.weight.T, out=logits)

    def log_sum_exp(
        self, logits: Float[Tensor, "rows vocab"], largest: Float[Tensor, " rows"]
    ) -> Float[Tensor, " rows"]:
        """The logarithm of the sum of the exponentials of each row, whose largest logit is known.

        Not finite if one of its logits is NaN or infinite upwards.
        """
        if torch.is_grad_enabled():
            return logits.logsumexp(-1)
        self._scratch = _fitting(self._scratch, len(logits), logits.shape[1], logits)
        # The largest probability is one over the sum of the exponentials relative to the largest.
        # On a CPU this takes half the time of differences, exponentials and their sum.
        p = torch.softmax(logits, -1, out=self._scratch[: len(logits)])
        return largest - p.amax(-1).log_()


def _fitting(memory: Tensor, rows: int, width: int, like: Tensor) -> Tensor:
    """The memory, or new one if it does not fit: in size, type, device or inference mode."""
    if (
        len(memory) >= rows
        and memory.shape[1] == width
        and (memory.dtype, memory.device) == (like.dtype, like.device)
        and memory.is_inference() == torch.is_inference_mode_enabled()
    ):
        return memory
    return like.new_empty(rows, width)


def _is_plain(linear: nn.Linear, outputs: Tensor) -> bool:
    """Whether a product into given memory does all that a call of the layer does."""
    hooks = [vars(linear)[f"_{kind}"] for kind in _HOOKS]
    hooks += [vars(torch_module)[f"_global_{kind}"] for kind in _HOOKS]
    return (
        type(linear) is nn.Linear
        and "forward" not in vars(linear)
        and type(linear.weight) is nn.Parameter
        and not any(hooks)
        and not torch.is_grad_enabled()
        and outputs.device.type == linear.weight.device.type == "cpu"
        and outputs.dtype == linear.weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )
