"""The feed-forward network over a fixed window (Bengio et al. 2003, figure 1).

                next token, or memory.pooled
                           │
              [ tanh(H · + d) ]  × num_layers
                           │
                    [ concatenate ]
              ▲            ▲            ▲
          [ embed ]    [ embed ]    [ embed ]        one matrix for all places
              ▲            ▲            ▲
        x_{t-window+1}  x_{t-1}        x_t          what lies before the window is forgotten

Departures from the paper:

- The window holds `window` tokens, the last of which is the one just read; places before the first
  token hold zeros.
- There are no direct connections from the embeddings to the output layer (the paper's optional W).
- With a source there are two such networks: the encoder reads the last `window` tokens of the
  source into one vector, the decoder the last `window` tokens of the target and that vector.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal, Unpack

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from seqlearn.batch import Memory
from seqlearn.core.base import SequenceModule
from seqlearn.core.hparams import BaseOptions
from seqlearn.instrumentation import emit
from seqlearn.nn import Dropout
from seqlearn.plain_data import check_whole_number
from seqlearn.spec import SequenceSpec


class MLP(nn.Sequential):
    """`tanh(H x + d)`, `num_layers` times (Bengio et al. 2003, equation 1)."""

    def __init__(self, d_input: int, d_model: int, num_layers: int, dropout: float) -> None:
        num_layers = check_whole_number(num_layers, "num_layers", 1)
        widths = [d_input] + [d_model] * (num_layers - 1)
        parts: list[nn.Module] = [Dropout(dropout)]
        for width in widths:
            linear = nn.Linear(width, d_model)
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
            parts += [linear, nn.Tanh(), Dropout(dropout)]
        super().__init__(*parts)


class FeedForwardEncoder(nn.Module):
    """Reads the last tokens of a source, at once.

    Args:
        d_model: Width of the embeddings and of the pooled vector.
        window: How many tokens it reads.
        num_layers: Layers.
        dropout: Share of what is dropped before and after each layer.
        overflow: What becomes of a longer source: `"error"` raises, `"truncate"` warns.
    """

    def __init__(
        self,
        d_model: int,
        window: int,
        num_layers: int,
        dropout: float,
        overflow: Literal["error", "truncate"],
    ) -> None:
        super().__init__()
        self.window, self.overflow = window, overflow
        self.hidden = MLP(window * d_model, d_model, num_layers, dropout)

    def forward(
        self, inputs: Float[Tensor, "batch source d_model"], mask: Bool[Tensor, "batch source"]
    ) -> Memory:
        """Read embedded tokens, of which those are real where `mask` is True.

        Raises:
            ValueError: If a source is longer than the window, and `overflow` is `"error"`.
        """
        lengths = mask.sum(1, keepdim=True)
        if inputs.shape[1] > self.window:
            self._check(int(lengths.max()))
        # The last `window` places before each row's end, zeros before its start.
        place = lengths + torch.arange(-self.window, 0, device=mask.device)
        padded = functional.pad(inputs, (0, 0, 0, max(0, self.window - inputs.shape[1])))
        read = padded.gather(1, place.clamp(min=0)[..., None].expand(-1, -1, inputs.shape[-1]))
        read = read * (place >= 0)[..., None] * math.sqrt(inputs.shape[-1])
        pooled = self.hidden(read.flatten(1))
        emit("states", self.hidden, pooled, ("pooled",))
        return Memory(pooled[:, None], mask[:, :1], pooled)

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
            f"sources of up to {longest} tokens are cut",
            stacklevel=3,
        )


class FeedForwardDecoder(nn.Module):
    """Reads the last tokens of the target, and the source's pooled vector.

    Args:
        d_model: Width of the embeddings, the pooled vector and the answers.
        window: How many tokens it reads.
        num_layers: Layers.
        dropout: Share of what is dropped before and after each layer.
        has_source: Whether there is a pooled vector to read.
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
        """Answer each embedded token with a vector from which the next token is read.

        Args:
            inputs: The new tokens, embedded.
            memory: The source, of which only the pooled vector is read; `None` without one.
            state: The `window - 1` tokens before, which the call before returned; `None` (and
                zeros) at the start.
        """
        batch, target, d_model = inputs.shape
        past = inputs.new_zeros(batch, self.window - 1, d_model) if state is None else state
        tokens = torch.cat([past, inputs], 1)
        read = tokens.unfold(1, self.window, 1).transpose(2, 3).flatten(2) * math.sqrt(d_model)
        if memory is not None:
            read = torch.cat([read, memory.pooled[:, None].expand(-1, target, -1)], -1)
        answers = self.hidden(read)
        emit("states", self.hidden, answers, ("target",))
        return answers, tokens[:, target:]


class FeedForward(SequenceModule):
    """The feed-forward network over a fixed window, for every shape.

    It reads its last `window` tokens and nothing else. A longer source is refused, or cut; the
    target so far is always read through the window, as an n-gram model reads it.

    Args:
        spec: What goes in and what comes out, such as `data.spec`.
        window: Tokens that it reads, of the source and of the target.
        d_model: Width of embeddings, hidden layers and answers.
        num_layers: Hidden layers of the encoder, and of the decoder.
        overflow: What becomes of a source longer than the window: `"error"` raises an error,
            `"truncate"` warns and reads its last tokens.
        dropout: Share of what is dropped before and after each hidden layer, in training.
        base: `recipe`, `generation` and `tie_embeddings`; see `SequenceModule`.

    Raises:
        ValueError: If `window` or `num_layers` is below one, or `overflow` is none of the two.

    Source: Bengio et al. 2003, section 2.
    """

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
        self.encoder = FeedForwardEncoder(d_model, window, num_layers, dropout, overflow)
        self.decoder = FeedForwardDecoder(
            d_model, window, num_layers, dropout, has_source=spec.source is not None
        )
