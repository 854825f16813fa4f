"""Record the attention of any module that calls torch's own attention functions.

`capture_torch_attention` is a `TorchFunctionMode`: while it is active, torch passes it every call
made in its thread, under whatever name a function was imported. It leaves nothing on the model and
does not see other threads.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from seqlearn.instrumentation import active_listeners, emit, muted
from seqlearn.nn.attention import MultiHeadAttention

_FUSED = functional.scaled_dot_product_attention
_MULTI_HEAD = functional.multi_head_attention_forward
_MULTI_HEAD_ARGUMENTS = inspect.signature(_MULTI_HEAD)


def capture_torch_attention(model: nn.Module) -> TorchFunctionMode:
    """Emit the weights of each attention that a module of `model` computes through torch.

    Of `scaled_dot_product_attention` also its queries, keys, values and scores.

        with add_listener(listener), capture_torch_attention(model):
            model(inputs)

    It captures `torch.nn.functional.scaled_dot_product_attention` and
    `multi_head_attention_forward` (which `nn.MultiheadAttention` calls, with `need_weights` or
    without). A call belongs to the innermost running module of `model`. Calls of other modules are
    ignored, and so are those of seqlearn's `MultiHeadAttention`, which reports its own weights.

    Outputs and random state equal those of the original call to the bit. While the mode is active,
    `nn.TransformerEncoder` does not use its inference fast path, whose outputs differ by rounding
    and are zero at padded positions. Compiled code is captured only where it runs eagerly
    (`torch.compiler.set_stance("force_eager")`), scripted code never.

    The weights are those before dropout, `batch heads query key`. Queries without heads (three
    axes) have one head; several leading axes are flattened into `batch`.

    Args:
        model: Any module.

    Returns:
        A context manager, for one thread.
    """
    return _CaptureTorchAttention(model)


class _CaptureTorchAttention(TorchFunctionMode):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._modules = frozenset(model.modules())

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if (func is not _FUSED and func is not _MULTI_HEAD) or not active_listeners():
            return func(*args, **kwargs)
        owner = self._owner(sys._getframe(1))  # noqa: SLF001
        if owner is None or isinstance(owner, MultiHeadAttention):
            return func(*args, **kwargs)

        # With nested recordings the outer mode sees the calls made here again.
        @torch.no_grad()
        def weights() -> Tensor:
            with muted():
                of = fused_weights if func is _FUSED else multi_head_weights
                return of(*args, **kwargs)

        with muted():
            output = func(*args, **kwargs)
        emit("attention", owner, weights)
        if func is _FUSED:
            self._emit_parts(owner, args, kwargs)
        return output

    @staticmethod
    def _emit_parts(owner: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Report what a call of the fused function multiplies, and its scores."""

        @torch.no_grad()
        def part(number: int) -> Tensor:
            with muted():
                return fused_parts(*args, **kwargs)[number]

        for number, kind in enumerate(("queries", "keys", "values", "scores")):
            emit(kind, owner, partial(part, number))

    def _owner(self, frame: FrameType | None) -> nn.Module | None:
        """The innermost module of the model whose method is running.

        It is the first argument, `self`, of a function on the stack; the attention functions of
        Hugging Face receive it as their first argument, `module`.
        """
        while frame is not None:
            code = frame.f_code
            if code.co_argcount:
                first = frame.f_locals.get(code.co_varnames[0])
                if isinstance(first, nn.Module) and first in self._modules:
                    return first
            frame = frame.f_back
        return None


def fused_weights(
    query: Float[Tensor, "*batch query d_head"],
    key: Float[Tensor, "*batch_key key d_head"],
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "rows heads query key"]:
    """The attention weights of a call of `scaled_dot_product_attention`, before dropout.

    Takes its arguments. With `is_causal`, the keys up to i are visible to query i, counted from the
    first key.

    Returns:
        Weights in the dtype of `query`, computed in float32 or wider; zeros where no key is
        visible.

    Raises:
        ValueError: If `query` is a nested tensor.
    """
    scores = fused_parts(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
    ).scores
    nothing = (scores == -torch.inf).all(-1, keepdim=True)
    return scores.softmax(-1).masked_fill(nothing, 0.0).to(query.dtype)


class FusedParts(NamedTuple):
    """What a call of `scaled_dot_product_attention` multiplies, `rows heads time d_head` each.

    Attributes:
        query: The queries.
        key: The keys, one for each head of the queries.
        value: The values, likewise.
        scores: The scores before the softmax, in float32 or wider, `rows heads query key`; −∞ where
            a mask hides a key.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scores: Tensor


def fused_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> FusedParts:
    """The parts of a call of `scaled_dot_product_attention`, whose arguments it takes.

    Raises:
        ValueError: If `query` is a nested tensor.
    """
    if query.is_nested:
        raise ValueError(
            "expected padded tensors to record attention from, got nested ones; pass padded "
            "tensors and a mask while recording"
        )
    wide = torch.promote_types(query.dtype, torch.float32)
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (part.repeat_interleave(repeats, -3) for part in (key, value))
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    with torch.autocast(query.device.type, enabled=False):  # it would round the product again
        scores = (query.to(wide) * factor) @ key.to(wide).transpose(-2, -1)
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~seen, -torch.inf)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return FusedParts(*map(_by_heads, (query, key, value, scores)))


def _by_heads(part: Float[Tensor, "*batch time width"]) -> Float[Tensor, "rows heads time width"]:
    """Without heads one head; several leading axes as rows."""
    part = part[(None,) * (3 - part.ndim)]
    return part[:, None] if part.ndim == 3 else part.flatten(0, -4)


def multi_head_weights(*args: Any, **kwargs: Any) -> Float[Tensor, "batch heads query key"]:
    """The attention weights of a call of `multi_head_attention_forward`, before dropout.

    Takes its arguments, and calls it again to get the weights of each head.

    Returns:
        Weights, batch first; zeros where no key is visible, for which torch returns NaN. An input
        without a batch is a batch of one. Keys that torch adds (`add_bias_kv`, `add_zero_attn`)
        are last.
    """
    call = _MULTI_HEAD_ARGUMENTS.bind(*args, **kwargs)
    # `is_causal` is a hint; the mask contains the same.
    call.arguments.update(
        training=False, need_weights=True, average_attn_weights=False, is_causal=False
    )
    _, weights = _MULTI_HEAD(*call.args, **call.kwargs)
    assert weights is not None
    weights = weights[None] if weights.ndim == 3 else weights
    batch, heads, queries, _ = weights.shape
    hidden = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=weights.device)
    padding, mask = call.arguments.get("key_padding_mask"), call.arguments.get("attn_mask")
    if padding is not None:
        hidden = hidden | _hidden(padding).reshape(batch, 1, 1, -1)
    if mask is not None:
        whole = mask.ndim == 2
        hidden = hidden | _hidden(mask).reshape(
            1 if whole else batch, 1 if whole else heads, queries, -1
        )
    # Only a NaN that the masks explain: a NaN of the inputs stays.
    return weights.masked_fill(weights.isnan() & hidden.all(-1, keepdim=True), 0.0)


def _hidden(mask: Tensor) -> Tensor:
    """True where a mask of `nn.MultiheadAttention`, boolean or additive, hides a key."""
    return mask if mask.dtype == torch.bool else mask == -torch.inf
