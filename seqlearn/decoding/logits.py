"""Logits processors: rules that change the scores of the next token before a strategy picks one.

Each processor gets the ids that the decoder has read so far and the scores of the next token, and
returns new scores. The definitions are those of Hugging Face transformers, to which
`tests/parity/test_logits.py` compares every processor.

Source: Keskar et al. 2019, section 4.1, for the repetition penalty; Paulus et al. 2018, section
2.5, for blocking repeated n-grams.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.batch import END

NEG_INF = float("-inf")

NO_TEXT = (
    "no text has a probability above zero; relax the options that exclude tokens, such as "
    "min_new_tokens"
)
"""The error where processors leave no token."""
"""The score of a token that cannot be generated."""


@runtime_checkable
class LogitsProcessor(Protocol):
    """A rule that changes the scores of the next token.

    Examples:
        >>> def no_fives(ids, scores):
        ...     return scores.index_fill(1, torch.tensor([5]), float("-inf"))
        >>> isinstance(no_fives, LogitsProcessor)
        True
        >>> no_fives(torch.tensor([[2]]), torch.zeros(1, 7))
        tensor([[0., 0., 0., 0., 0., -inf, 0.]])
    """

    def __call__(
        self, ids: Int[Tensor, "rows time"], scores: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """Return the changed scores; the given tensor stays as it is.

        Args:
            ids: What the decoder has read so far: start symbol, prompt and generated tokens.
            scores: Logits, or log-probabilities in beam search.
        """
        ...


@dataclass(frozen=True)
class RepetitionPenalty:
    """Lower the scores of all tokens that have occurred, the prompt included.

        score / penalty  if score > 0  else  score · penalty

    Attributes:
        penalty: Above 1 discourages repetition, below 1 encourages it; 1 changes nothing.

    Source: Keskar et al. 2019, section 4.1.

    Examples:
        >>> RepetitionPenalty(2.0)(torch.tensor([[0, 1]]), torch.tensor([[4.0, -1.0, 3.0]]))
        tensor([[ 2., -2.,  3.]])
    """

    penalty: float

    def __call__(
        self, ids: Int[Tensor, "rows time"], scores: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """Return the changed scores; see `LogitsProcessor`."""
        seen = scores.gather(1, ids)
        seen = torch.where(seen < 0, seen * self.penalty, seen / self.penalty)
        return scores.scatter(1, ids, seen)


@dataclass(frozen=True)
class NoRepeatNGram:
    """Block every token that would complete an n-gram that has occurred, the prompt included.

    Attributes:
        size: The length n of the n-grams, at least 1.

    Source: Paulus et al. 2018, section 2.5.

    Examples:
        >>> NoRepeatNGram(2)(torch.tensor([[1, 2, 1]]), torch.zeros(1, 4))
        tensor([[0., 0., -inf, 0.]])
    """

    size: int

    def __call__(
        self, ids: Int[Tensor, "rows time"], scores: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """Return the changed scores; see `LogitsProcessor`."""
        length = ids.shape[1]
        if length < self.size:
            return scores
        ngrams = ids.unfold(1, self.size, 1)
        last = ids[:, length - self.size + 1 :]  # n-1 tokens
        repeats = (ngrams[:, :, :-1] == last[:, None]).all(-1)
        ceiling = torch.zeros(repeats.shape, dtype=scores.dtype, device=scores.device)
        ceiling = ceiling.masked_fill(repeats, NEG_INF).masked_fill(~repeats, -NEG_INF)
        return scores.scatter_reduce(1, ngrams[:, :, -1], ceiling, "amin")


@dataclass(frozen=True)
class MinNewTokens:
    """Block the end symbol until enough tokens have been generated.

    Attributes:
        min_new_tokens: Tokens to generate before the end symbol.
        prompt_length: Tokens that are not counted: the start symbol and the prompt.

    Examples:
        >>> MinNewTokens(2, prompt_length=1)(torch.tensor([[2, 4]]), torch.zeros(1, 5))
        tensor([[0., 0., 0., -inf, 0.]])
    """

    min_new_tokens: int
    prompt_length: int

    def __call__(
        self, ids: Int[Tensor, "rows time"], scores: Float[Tensor, "rows vocab"]
    ) -> Float[Tensor, "rows vocab"]:
        """Return the changed scores; see `LogitsProcessor`."""
        if ids.shape[1] - self.prompt_length >= self.min_new_tokens:
            return scores
        scores = scores.clone()
        scores[:, END] = NEG_INF
        return scores
