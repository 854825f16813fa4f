"""The feed-forward network over a fixed window (Bengio et al. 2003, figure 1).

                next token, or memory.pooled
                           │
              [ tanh(H · + d) ]  × num_layers
                           │
                    [ concatenate ]
              ▲            ▲            ▲
          [ embed ]    [ embed ]    [ embed ]        one matrix for all positions
              ▲            ▲            ▲
        x_{t-window+1}  x_{t-1}        x_t          tokens before the window are ignored

Departures from the paper:

- The window has `window` tokens, including the current one; positions before the first token are
  zero.
- There are no direct connections from the embeddings to the output layer (the paper's optional W).
- With a source there are two such networks: the encoder maps the last `window` tokens of the source
  to one vector, the decoder takes the last `window` tokens of the target and that vector.
- For tags the encoder maps the `window` tokens up to each token to one vector, which predicts its
  tag (the window approach of Collobert et al. 2011, section 3.2, with a window that ends there).
"""

from __future__ import annotations

import math
import warnings
from typing import ClassVar, Literal, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from seqlearn.batch import Memory
from seqlearn.core.base import SequenceModule
from seqlearn.core.hparams import BaseOptions
from seqlearn.core.recipe import Recipe
from seqlearn.instrumentation import emit
from seqlearn.nn import Dropout
from seqlearn.plain_data import check_whole_number
from seqlearn.spec import AlignedSpec, SequenceSpec


class MLP(nn.Sequential):
    """`tanh(H x + d)`, `num_layers` times (Bengio et al. 2003, equation 1)."""

    def __init__(self, d_input: int, d_model: int, num_layers: int, dropout: float) -> None:
        num_layers = check_whole_number(num_layers, "num_layers", 1)
        parts: list[nn.Module] = [Dropout(dropout)]
        for number in range(num_layers):
            linear = nn.Linear(d_model if number else d_input, d_model)
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
            parts += [linear, nn.Tanh(), Dropout(dropout)]
        super().__init__(*parts)


class FeedForwardEncoder(nn.Module):
    """Maps the last tokens of a source to one vector, or the tokens up to each token to one each.

    Args:
        d_model: Width of the embeddings and of the pooled vector.
        window: Number of tokens in the window.
        num_layers: Number of layers.
        dropout: Dropout probability before and after each layer.
        overflow: What to do with a longer source: `"error"` raises, `"truncate"` warns.
        each_token: Whether there is a state for each token, as tags need; a source may then have
            any length. If not, the pooled vector is the only state.
    """

    def __init__(
        self,
        d_model: int,
        window: int,
        num_layers: int,
        dropout: float,
        overflow: Literal["error", "truncate"],
        *,
        each_token: bool = False,
    ) -> None:
        super().__init__()
        self.window, self.overflow, self.each_token = window, overflow, each_token
        self.hidden = MLP(window * d_model, d_model, num_layers, dropout)

    def forward(
        self, inputs: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Memory:
        """Encode embedded tokens; `mask` is True where a position is real.

        Raises:
            ValueError: If a source is longer than the window, and `overflow` is `"error"`.
        """
        if self.each_token:
            return self._encode_each(inputs, mask)
        lengths = mask.sum(1, keepdim=True)
        if inputs.shape[1] > self.window:
            self._check(int(lengths.max()))
        # The last `window` positions of each row, zeros before its start.
        place = lengths + torch.arange(-self.window, 0, device=mask.device)
        padded = functional.pad(inputs, (0, 0, 0, max(0, self.window - inputs.shape[1])))
        read = padded.gather(1, place.clamp(min=0)[..., None].expand(-1, -1, inputs.shape[-1]))
        read = read * (place >= 0)[..., None] * math.sqrt(inputs.shape[-1])
        pooled = self.hidden(read.flatten(1))
        emit("states", self.hidden, pooled, ("pooled",))
        return Memory(pooled[:, None], mask[:, :1], pooled)

    def _encode_each(self, inputs: Tensor, mask: Tensor) -> Memory:
        """A state for each token, from the window that ends there."""
        padded = functional.pad(inputs, (0, 0, self.window - 1, 0))
        read = padded.unfold(1, self.window, 1).transpose(2, 3).flatten(2)
        states = self.hidden(read * math.sqrt(inputs.shape[-1]))
        emit("states", self.hidden, states, ("source",))
        rows = torch.arange(len(mask), device=mask.device)
        return Memory(states, mask, states[rows, mask.sum(1) - 1])

    def _check(self, longest: int) -> None:
        if longest <= self.window:
            return
        if self.overflow == "error":
            raise ValueError(
                f"FeedForward reads at most window={self.window} tokens, got a source of {longest};"
                f" set window to at least {longest}, or overflow='truncate' to read its last "
                f"{self.window} only"
            )
        warnings.warn(
            f"FeedForward reads the last {self.window} tokens of a source and nothing else; "
            f"sources of up to {longest} tokens are truncated",
            stacklevel=3,
        )


class FeedForwardDecoder(nn.Module):
    """Maps the last tokens of the target and the pooled vector of the source to outputs.

    Args:
        d_model: Width of the embeddings, the pooled vector and the outputs.
        window: Number of tokens in the window.
        num_layers: Number of layers.
        dropout: Dropout probability before and after each layer.
        has_source: Whether there is a pooled vector.
    """

    def __init__(
        self, d_model: int, window: int, num_layers: int, dropout: float, *, has_source: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.hidden = MLP((window + has_source) * d_model, d_model, num_layers, dropout)

    def forward(
        self,
        inputs: Float[Tensor, "batch target d_model"],
        memory: Memory | None,
        state: Float[Tensor, "batch past d_model"] | None = None,
    ) -> tuple[Float[Tensor, "batch target d_model"], Float[Tensor, "batch past d_model"]]:
        """Compute one vector per token, from which the next token is predicted.

        Args:
            inputs: The new tokens, embedded.
            memory: The encoded source, of which only `pooled` is used; `None` without a source.
            state: The `window - 1` previous tokens, returned by the previous call; `None` (which
                means zeros) in the first call.
        """
        batch, target, d_model = inputs.shape
        past = inputs.new_zeros(batch, self.window - 1, d_model) if state is None else state
        tokens = torch.cat([past, inputs], 1)
        read = tokens.unfold(1, self.window, 1).transpose(2, 3).flatten(2) * math.sqrt(d_model)
        if memory is not None:
            read = torch.cat([read, memory.pooled[:, None].expand(-1, target, -1)], -1)
        outputs = self.hidden(read)
        emit("states", self.hidden, outputs, ("target",))
        return outputs, tokens[:, target:]


class FeedForward(SequenceModule):
    """The feed-forward network over a fixed window, for every task.

    Each output depends on the last `window` tokens only. A longer source is an error or is
    truncated; the target is always read through the window, as in an n-gram model. A tag depends on
    the `window` tokens that end with the first token of its word, and sentences have any length.

    Args:
        spec: The types of source and target, such as `data.spec`.
        window: Number of tokens in the window, of the source and of the target.
        d_model: Width of embeddings, hidden layers and outputs.
        num_layers: Number of hidden layers of the encoder, and of the decoder.
        overflow: What to do with a source longer than the window: `"error"` raises an error,
            `"truncate"` warns and uses its last tokens.
        dropout: Dropout probability before and after each hidden layer, in training.
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

    Raises:
        ValueError: If `window` or `num_layers` is below one, or `overflow` is neither of the two.

    Source: Bengio et al. 2003, section 2.

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(None, sl.TextSpec(9, 4))  # a language model
        >>> model = sl.FeedForward(spec, window=3, d_model=8)
        >>> len(model.generate(prompts=[[4, 5]], max_new_tokens=5))
        1
    """

    default_recipe: ClassVar[Recipe] = Recipe(lr=2e-3)

    def __init__(
        self,
        spec: SequenceSpec,
        *,
        window: int = 64,
        d_model: int = 128,
        num_layers: int = 1,
        overflow: Literal["error", "truncate"] = "error",
        dropout: float = 0.1,
        **base: Unpack[BaseOptions],
    ) -> None:
        super().__init__(spec, d_model=d_model, **base)
        window = check_whole_number(window, "window", 1)
        if overflow not in ("error", "truncate"):
            raise ValueError(f"expected overflow 'error' or 'truncate', got {overflow!r}")
        self.encoder = FeedForwardEncoder(
            d_model,
            window,
            num_layers,
            dropout,
            overflow,
            each_token=isinstance(spec.target, AlignedSpec),
        )
        self.decoder = FeedForwardDecoder(
            d_model, window, num_layers, dropout, has_source=spec.source is not None
        )
