"""Attention: the textbook form, the fast path held to it, and the multi-head module.

    scores  = query keyᵀ / √d_head
    weights = softmax(scores) over the keys that may be seen
    output  = weights value

Source: Vaswani et al. 2017, section 3.2, equation 1 (Q, K, V are `query`, `key`, `value`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor.parallel import RowwiseParallel, parallelize_module
from torch.nn import functional

from seqlearn.batch import causal_mask
from seqlearn.instrumentation import Axes, active_listeners, emit
from seqlearn.nn.dropout_layer import check_dropout, dropout_product
from seqlearn.nn.int8_linear import Int8Linear
from seqlearn.nn.key_value_cache import KeyValueCache
from seqlearn.nn.positions import apply_rotary
from seqlearn.nn.tensor_parallel import (
    check_divides,
    copy_to_ranks,
    divide_projection,
    gather_heads,
    own_random_numbers,
    rows_of_heads,
)

EXPLICIT_KEYS = 32
"""Up to this many keys explicit matrix products beat the CPU's fused kernel in training, forward
and backward together (`python -m benchmarks attention` prints both)."""

EXPLICIT_KEYS_OF_INFERENCE = 64
"""The same without gradients, in single precision."""


def attention_scores(
    query: Float[Tensor, "*batch query d_head"], key: Float[Tensor, "*batch key d_head"]
) -> Float[Tensor, "*batch query key"]:
    """Scores of each query and key: their dot product divided by √d_head.

    Examples:
        >>> attention_scores(torch.ones(1, 4), torch.ones(3, 4))
        tensor([[2., 2., 2.]])
    """
    return query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])


def attention_weights(
    query: Float[Tensor, "*batch query d_head"],
    key: Float[Tensor, "*batch key d_head"],
    mask: Bool[Tensor, "*#batch #query key"] | None = None,
) -> Float[Tensor, "*batch query key"]:
    """The textbook form (Vaswani et al. 2017, equation 1): softmax over the keys that may be seen.

    Args:
        query: The queries.
        key: The keys.
        mask: True where a query may attend to a key; `None` if everywhere.

    Returns:
        Weights that sum to one over the visible keys; zeros elsewhere, and where none is visible.

    Examples:
        >>> attention_weights(torch.zeros(1, 4), torch.eye(4), torch.ones(1, 4, dtype=torch.bool))
        tensor([[0.2500, 0.2500, 0.2500, 0.2500]])
    """
    scores = attention_scores(query, key)
    return scores.softmax(-1) if mask is None else masked_softmax(scores, mask)


def masked_softmax(
    scores: Float[Tensor, "*batch query key"], mask: Bool[Tensor, "*#batch #query key"]
) -> Float[Tensor, "*batch query key"]:
    """Softmax over the keys where `mask` is True; zeros elsewhere, and where it is nowhere True.

    Examples:
        >>> masked_softmax(torch.zeros(1, 3), torch.tensor([[True, True, False]]))
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    # The lowest number instead of -∞, whose softmax would have gradients that are not finite in
    # a row with nothing to see.
    weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


def attend(
    query: Float[Tensor, "batch heads query d_head"],
    key: Float[Tensor, "batch heads key d_head"],
    value: Float[Tensor, "batch heads key d_head"],
    mask: Bool[Tensor, "#batch 1 #query key"] | None = None,
    *,
    causal: bool = False,
    dropout_p: float = 0.0,
) -> Float[Tensor, "batch heads query d_head"]:
    """The fast path: the result of `attention_weights(…) @ value`, by the fastest kernel.

    Args:
        query: The queries.
        key: The keys.
        value: The values, one per key.
        mask: True where a query may attend to a key; `None` if everywhere.
        causal: Whether query `i` sees only keys up to its own, the queries being the last keys.
        dropout_p: Probability with which a weight is dropped (after the softmax).

    Returns:
        One vector per query; zero where nothing may be seen.

    Raises:
        ValueError: If `mask` and `causal` are both given: the fused kernels disagree on it.

    Examples:
        >>> query, value = torch.zeros(1, 1, 2, 1), torch.tensor([1.0, 3.0]).view(1, 1, 2, 1)
        >>> attend(query, query, value, causal=True).flatten()
        tensor([1., 2.])
    """
    if causal and mask is not None:
        raise ValueError("expected a mask or causal=True, got both; put the causality in the mask")
    given, queries, keys = mask, query.shape[-2], key.shape[-2]
    if causal and queries != keys:
        # The fused kernels align the first query with the first key. A single query sees all keys.
        mask = causal_mask(queries, keys, query.device)[None, None] if queries > 1 else None
        causal = False
    if not _explicit_is_faster(query, keys, dropout_p):
        output = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout_p, is_causal=causal
        )
    else:
        if causal:
            mask = causal_mask(queries, keys, query.device)[None, None]
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1)
        output = dropout_product(weights, value, dropout_p) if dropout_p > 0 else weights @ value
    if given is not None:
        output = output * given.any(-1, keepdim=True)
    return output


def _explicit_is_faster(query: Tensor, keys: int, dropout_p: float) -> bool:
    """Whether to multiply by hand: on a CPU, when short or when weights are dropped.

    With dropout torch's CPU kernel is not fused, and slow. No kernel takes an empty source.
    """
    if keys == 0:
        return True
    if query.device.type != "cpu" or torch.compiler.is_compiling():
        # Compiled code serves all lengths, so it must not branch on them.
        return query.device.type == "cpu" and dropout_p > 0
    if dropout_p > 0 or query.requires_grad:
        return dropout_p > 0 or keys <= EXPLICIT_KEYS
    # Below 400 multiplications torch does not call a library for a product of small matrices.
    enough = query.shape[-2] * keys * query.shape[-1] >= 400
    return enough and keys <= EXPLICIT_KEYS_OF_INFERENCE and query.element_size() >= 4


class KeyValue(NamedTuple):
    """Keys and values projected once from a memory, `batch heads source d_head`.

    Examples:
        >>> MultiHeadAttention(8, num_heads=2).project_memory(torch.zeros(1, 5, 8)).key.shape
        torch.Size([1, 2, 5, 4])
    """

    key: Tensor
    value: Tensor


class MultiHeadAttention(nn.Module):
    """Several attentions side by side, each in a subspace of its own.

        head_i = attend(x W_i^Q, y W_i^K, y W_i^V);   output = concat(head_1 … head_h) W^O

    The weights of all heads lie in one matrix: `projection` holds W^Q, W^K and W^V of all heads
    below one another, `3·d_model × d_model`; `output` is W^O, `d_model × d_model`.

    Args:
        d_model: Width of queries, keys and values.
        num_heads: Number of heads; must divide `d_model`.
        dropout: Probability with which an attention weight is dropped in training.
        rotary: Whether queries and keys are turned by their positions (`seqlearn.nn.rotary`), where
            both come from the same sequence: in a memory positions mean something else.

    Raises:
        ValueError: If `num_heads` does not divide `d_model`, `rotary` heads are of odd width, or
            `dropout` is not at least 0 and below 1.

    Source: Vaswani et al. 2017, section 3.2.2; Su et al. 2021, section 3.4.2, for `rotary`.

    Examples:
        >>> attention = MultiHeadAttention(d_model=8, num_heads=2)
        >>> attention(torch.zeros(1, 3, 8), torch.ones(1, 3, dtype=torch.bool)).shape
        torch.Size([1, 3, 8])
    """

    def __init__(
        self, d_model: int, num_heads: int, dropout: float = 0.0, *, rotary: bool = False
    ) -> None:
        super().__init__()
        if num_heads < 1 or d_model % num_heads:
            raise ValueError(
                f"expected a number of heads that divides d_model={d_model}, got {num_heads}"
            )
        if rotary and d_model // num_heads % 2:
            raise ValueError(
                "rotary positions turn pairs of numbers; expected heads of even width, got "
                f"d_model={d_model} / num_heads={num_heads} = {d_model // num_heads}"
            )
        self.d_model, self.num_heads, self.dropout = d_model, num_heads, check_dropout(dropout)
        self.rotary = rotary
        self._mesh: DeviceMesh | None = None
        self.projection = nn.Linear(d_model, 3 * d_model)
        self.output = nn.Linear(d_model, d_model)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.projection.bias)
        nn.init.zeros_(self.output.bias)

    def tensor_parallelize(self, mesh: DeviceMesh) -> None:
        """Divide the heads over the ranks of a mesh (tensor parallelism).

        Raises:
            ValueError: If the number of ranks does not divide `num_heads`.
        """
        check_divides(mesh, self.num_heads, "num_heads")
        divide_projection(self.projection, mesh)
        parallelize_module(self, mesh, {"output": RowwiseParallel()})
        self._mesh = mesh

    def forward(
        self,
        inputs: Float[Tensor, "batch time d_model"],
        mask: Bool[Tensor, "batch time"],
        *,
        axes: Axes = ("source", "source"),
    ) -> Float[Tensor, "batch time d_model"]:
        """Let every position attend to every real position.

        Args:
            inputs: One vector per position.
            mask: True where a position is real.
            axes: The sequences of queries and keys, as in `seqlearn.instrumentation.emit`.
        """
        query, key, value = self._project(inputs, 0)
        return self._attend(query, key, value, mask[:, None, None], axes)

    def causal_self_attention(
        self,
        inputs: Float[Tensor, "batch time d_model"],
        cache: KeyValueCache | None,
    ) -> tuple[Float[Tensor, "batch time d_model"], KeyValueCache]:
        """Let every position attend to itself and to earlier positions.

        Args:
            inputs: One vector per new position.
            cache: Keys (turned, if `rotary`) and values so far, consumed; `None` at the start.

        Returns:
            The outputs, and the cache with the new positions.
        """
        query, key, value = self._project(inputs, 0 if cache is None else cache.length)
        mask = None
        if cache is None:
            cache = KeyValueCache(key, value)
        else:
            key, value, mask = cache.append(key, value)
        axes: Axes = ("target", "target")
        if mask is None:
            return self._attend(query, key, value, None, axes, causal=True), cache
        query = torch.unflatten(query, 0, (len(key), -1)).transpose(1, 2).flatten(2, 3)
        return self._attend(query, key, value, mask, axes, tree=cache).view(inputs.shape), cache

    def project_memory(self, states: Float[Tensor, "batch source d_model"]) -> KeyValue:
        """Project the states of a memory to keys and values, for `cross_attention`."""
        key, value = self._split(self._linear(states, slice(1, 3)), 2)
        if torch.is_grad_enabled():
            return KeyValue(key, value)
        return KeyValue(key.contiguous(), value.contiguous())  # each step multiplies by them

    def cross_attention(
        self,
        inputs: Float[Tensor, "batch time d_model"],
        memory: KeyValue,
        mask: Bool[Tensor, "batch source"],
        *,
        axes: Axes = ("target", "source"),
    ) -> Float[Tensor, "batch time d_model"]:
        """Let every position attend to the real states of a memory.

        Args:
            inputs: One vector per position.
            memory: The result of `project_memory`.
            mask: True where a state is real.
            axes: The sequences of queries and keys, as in `seqlearn.instrumentation.emit`.
        """
        (query,) = self._split(self._linear(inputs, slice(1)), 1)
        return self._attend(query, *memory, mask[:, None, None], axes)

    def _project(self, inputs: Tensor, start: int) -> tuple[Tensor, ...]:
        """Queries, keys and values; if `rotary`, turned by their positions from `start` on."""
        whole = self._mesh is None
        heads = self.projection(inputs) if whole else self._linear(inputs, slice(3))
        heads = self._split(heads, 3)
        if not self.rotary:
            return heads.unbind(0)
        return *apply_rotary(heads[:2], start).unbind(0), heads[2]

    def _linear(self, inputs: Tensor, parts: slice) -> Tensor:
        """Some of queries, keys and values, which are the parts 0, 1 and 2 of the projection."""
        rows = slice((parts.start or 0) * self.d_model, parts.stop * self.d_model)
        projection: nn.Module = self.projection
        if isinstance(projection, Int8Linear):  # of a copy for inference
            return projection.outputs(inputs, rows)
        weight, bias = self.projection.weight, self.projection.bias
        if self._mesh is None:
            return functional.linear(inputs, weight[rows], bias[rows])
        inputs = copy_to_ranks(inputs, self._mesh)
        return functional.linear(inputs, rows_of_heads(weight, parts), rows_of_heads(bias, parts))

    def _split(self, projected: Tensor, parts: int) -> Tensor:
        """Cut `batch time (parts heads d_head)` into `parts batch heads time d_head`."""
        batch, time, _ = projected.shape
        ranks = 1 if self._mesh is None else self._mesh.size()
        d_head = self.d_model // self.num_heads
        heads = projected.view(batch, time, parts, self.num_heads // ranks, d_head)
        return heads.permute(2, 0, 3, 1, 4)

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        axes: Axes,
        *,
        causal: bool = False,
        tree: KeyValueCache | None = None,
    ) -> Tensor:
        dropout_p = self.dropout if self.training else 0.0
        own: AbstractContextManager[None] = nullcontext()
        if self._mesh is not None and dropout_p > 0:
            own = own_random_numbers(self._mesh, query.device)
        with own:
            heads = attend(query, key, value, mask, causal=causal, dropout_p=dropout_p)

        if active_listeners():
            self._report(query, key, value, mask, axes, causal=causal, tree=tree)
        return self.output(heads.transpose(1, 2).flatten(2))

    def _report(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        axes: Axes,
        *,
        causal: bool,
        tree: KeyValueCache | None,
    ) -> None:
        """Report weights, scores, queries, keys and values; each is computed if it is recorded."""

        def weights() -> Tensor:
            seen = causal_mask(query.shape[2], key.shape[2], query.device) if causal else mask
            weights = attention_weights(query, key, seen)
            weights = weights if tree is None else tree.by_row(weights)
            return self._all_heads(weights)

        def scores() -> Tensor:
            seen = causal_mask(query.shape[2], key.shape[2], query.device) if causal else mask
            scores = attention_scores(query, key)
            scores = scores if seen is None else scores.masked_fill(~seen, -math.inf)
            return self._all_heads(scores if tree is None else tree.by_row(scores))

        def queries() -> Tensor:
            return self._all_heads(query if tree is None else tree.queries_by_row(query))

        def of_keys(part: Tensor) -> Callable[[], Tensor]:
            return lambda: self._all_heads(part if tree is None else tree.slots_by_row(part))

        emit("attention", self, weights, axes)
        emit("scores", self, scores, axes)
        emit("queries", self, queries, axes[:1])
        emit("keys", self, of_keys(key), axes[1:], shared=True)
        emit("values", self, of_keys(value), axes[1:], shared=True)

    def _all_heads(self, own: Tensor) -> Tensor:
        """What all ranks have of their heads, `batch heads …`."""
        return own if self._mesh is None else gather_heads(own, self._mesh)
