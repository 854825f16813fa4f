"""Beam search: at every step keep the likeliest beginnings of each answer.

    score(y) = log p(y | x) / |y|^length_penalty,    |y| = tokens made, the end symbol counted

Length penalty, candidates and early stopping are those of Hugging Face transformers 5
(`generate(num_beams=…)`), to which `tests/parity/test_beam_search.py` holds this file.

Source: Wu et al. 2016, section 7, for dividing by a power of the length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seqlearn.batch import END, PAD, Memory
from seqlearn.decoding.protocols import SUPPRESSED, NextToken, check_max_new_tokens
from seqlearn.instrumentation import decoding_step, end_decoding
from seqlearn.nn.protocols import select

NEG_INF = float("-inf")
"""The log-probability of what cannot be, and the score of a place that nothing has taken."""


class Hypothesis(NamedTuple):
    """An answer that a beam search has found.

    Attributes:
        ids: What was made, without start and end.
        log_probability: Of the tokens made, the end symbol included where there is one, in nats.
        finished: Whether it came to the end symbol; if not, it was cut at the limit.
    """

    ids: list[int]
    log_probability: float
    finished: bool


class _Candidates(NamedTuple):
    """Hypotheses of each source side by side, the best first; all `batch places`.

    Attributes:
        score: The log-probability over the power of the length, which ranks them.
        log_probability: In nats.
        step: The step in which the last token was made.
        row: The row in that step.
        token: The last token.
    """

    score: Tensor
    log_probability: Tensor
    step: Tensor
    row: Tensor
    token: Tensor

    def select(self, sources: Int[Tensor, " sources"]) -> _Candidates:
        """Those of these sources, in this order."""
        return _Candidates(*(part[sources] for part in self))

    def merge(self, others: _Candidates) -> _Candidates:
        """As many as there are here, the best of both."""
        score, at = torch.cat([self.score, others.score], 1).topk(self.score.shape[1])
        pairs = zip(self[1:], others[1:], strict=True)
        return _Candidates(score, *(torch.cat(pair, 1).gather(1, at) for pair in pairs))


@dataclass(frozen=True)
class BeamSearch:
    """Beam search over any decoder.

    At every step the `2 · beam_size` likeliest continuations of a source's rows are candidates: of
    the best `beam_size`, those that end are finished, and the likeliest `beam_size` of all that go
    on are the next rows. At the limit all are finished as they are. A source that is done leaves
    the batch with all its rows and costs nothing more.

    Attributes:
        beam_size: Rows for each source, and answers at most.
        length_penalty: The power of the length by which a log-probability is divided before it is
            compared: 0 compares log-probabilities, above 0 favours longer answers, below 0
            shorter ones. Tokens of a prompt do not count.
        early_stopping: When a source is done, which has `beam_size` finished answers: `True` at
            once; `False` when no row, if it ended now, would beat the worst of them; `"never"`
            when none can beat it any more, whatever follows.

    Raises:
        ValueError: If `beam_size` is below one, `length_penalty` is not finite, or
            `early_stopping` is none of the three.
    """

    beam_size: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ValueError(f"expected a beam_size of at least 1, got {self.beam_size}")
        if not math.isfinite(self.length_penalty):
            raise ValueError(f"expected a finite length_penalty, got {self.length_penalty}")
        if self.early_stopping not in (True, False, "never"):
            raise ValueError(
                f"expected early_stopping True, False or 'never', got {self.early_stopping!r}"
            )

    @torch.no_grad()
    def __call__(
        self,
        next_token: NextToken,
        first: Int[Tensor, "batch time"],
        memory: Memory | None,
        *,
        max_new_tokens: int,
        suppress: Sequence[int] = SUPPRESSED,
    ) -> list[list[Hypothesis]]:
        """Search until every source is done, or the limit.

        Args:
            next_token: The model's answer to more tokens.
            first: The tokens that every answer begins with (the start symbol), equally many a row.
            memory: What the encoder read; `None` for a language model.
            max_new_tokens: Tokens to make at most, the end symbol counted.
            suppress: The ids that are never generated; see `suppressed_tokens`.

        Returns:
            For each row of `first` its answers, the best first: `beam_size` of them, or fewer
            where there are not so many.

        Raises:
            ValueError: If `max_new_tokens` is below one, or the logits are not numbers.
        """
        check_max_new_tokens(max_new_tokens)
        finished = self._empty(len(first), first.device)
        results: list[tuple[Tensor, _Candidates]] = []
        active = torch.arange(len(first), device=first.device)
        beam_scores = first.new_zeros((len(first), 1), dtype=torch.float32)
        tokens, state = first, None
        parents: Tensor | None = None
        steps: list[tuple[Tensor | None, Tensor]] = []
        for step in range(max_new_tokens):
            decoding_step(parents)
            steps.append((parents, tokens[:, -1]))
            logits, state = next_token(tokens, memory, state)
            total, row, token = self._expand(beam_scores, logits, suppress)
            ends = token == END
            if step == max_new_tokens - 1:
                ends = torch.ones_like(ends)
            made = self._finish(total, ends, row, token, step)
            finished = finished.merge(made)
            next_scores, at = total.masked_fill(ends, NEG_INF).topk(
                min(self.beam_size, total.shape[1])
            )
            done = self._is_done(finished.score[:, -1], next_scores[:, 0], step + 1, max_new_tokens)
            done_idx, active_idx = done.nonzero()[:, 0], (~done).nonzero()[:, 0]
            results.append((active[done_idx], finished.select(done_idx)))
            if active_idx.numel() == 0:
                break
            parents = row.gather(1, at)[active_idx].flatten()
            state = select(state, parents)
            if next_scores.shape != beam_scores.shape or len(active_idx) < len(active):
                memory = select(memory, parents)  # else each row keeps the source that it has
            beam_scores, active, finished = (
                next_scores[active_idx],
                active[active_idx],
                finished.select(active_idx),
            )
            tokens = token.gather(1, at)[active_idx].reshape(-1, 1)
        order = torch.cat([sources for sources, _ in results]).argsort()
        parts = zip(*(found for _, found in results), strict=True)
        return _backtrack(first, _Candidates(*(torch.cat(part)[order] for part in parts)), steps)

    def _empty(self, sources: int, device: torch.device) -> _Candidates:
        """Places that nothing has taken."""
        scores = torch.full((2, sources, self.beam_size), NEG_INF, device=device)
        numbers = torch.zeros(3, sources, self.beam_size, dtype=torch.long, device=device)
        return _Candidates(*scores, *numbers)

    def _expand(
        self,
        beam_scores: Float[Tensor, "batch beam"],
        logits: Float[Tensor, "rows vocab"],
        suppress: Sequence[int],
    ) -> tuple[Float[Tensor, "batch next"], Int[Tensor, "batch next"], Int[Tensor, "batch next"]]:
        """The likeliest continuations: their log-probabilities, the rows they continue, the tokens.

        Twice as many as rows, so that enough go on also where all the best ones end.
        """
        # In single precision at least, also where autocast makes bf16 logits.
        log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        log_p[:, list(suppress)] = NEG_INF
        vocab = log_p.shape[1]
        total = (beam_scores[:, :, None] + log_p.view(*beam_scores.shape, vocab)).flatten(1)
        best, at = total.topk(min(2 * self.beam_size, total.shape[1]))
        sources = torch.arange(len(beam_scores), device=beam_scores.device)[:, None]
        return best, sources * beam_scores.shape[1] + at // vocab, at % vocab

    def _finish(
        self, total: Tensor, ends: Tensor, row: Tensor, token: Tensor, step: int
    ) -> _Candidates:
        """The continuations that have ended, of the best `beam_size`."""
        places = slice(0, self.beam_size)
        total, row, token = total[:, places], row[:, places], token[:, places]
        score = (total / (step + 1) ** self.length_penalty).masked_fill(~ends[:, places], NEG_INF)
        return _Candidates(score, total, torch.full_like(row, step), row, token)

    def _is_done(
        self,
        worst: Float[Tensor, " batch"],
        best: Float[Tensor, " batch"],
        length: int,
        max_new_tokens: int,
    ) -> Bool[Tensor, " batch"]:
        """Whether a source needs no more steps.

        Args:
            worst: Score of the worst finished answer that is kept.
            best: Log-probability of the best row that goes on.
            length: Tokens that it has.
            max_new_tokens: Tokens that it may have.
        """
        if self.early_stopping is True:
            enough = worst > NEG_INF
        else:
            if self.early_stopping == "never" and self.length_penalty > 0:
                length = max_new_tokens
            enough = best / length**self.length_penalty <= worst
        return enough | (best == NEG_INF)


def _backtrack(
    first: Int[Tensor, "batch time"],
    finished: _Candidates,
    steps: list[tuple[Tensor | None, Tensor]],
) -> list[list[Hypothesis]]:
    """Follow the finished hypotheses back to their first token; tell who listens."""
    step, row = finished.step.flatten().cpu(), finished.row.flatten().cpu()
    tokens = torch.full((len(step), len(steps)), PAD)
    tokens[torch.arange(len(step)), step] = finished.token.flatten().cpu()
    here = row.clone()
    for number in range(len(steps) - 1, 0, -1):
        parents, fed = steps[number]
        assert parents is not None
        reach = (step >= number).nonzero()[:, 0]
        tokens[reach, number - 1] = fed.cpu()[here[reach]]
        here[reach] = parents.cpu()[here[reach]]
    size = finished.score.shape[1]
    scores, log_p = finished.score.flatten().tolist(), finished.log_probability.flatten().tolist()
    ids, last, ended_in = tokens.tolist(), step.tolist(), row.tolist()
    found: list[list[Hypothesis]] = []
    beam_paths = []
    for source in range(len(first)):
        real = [at for at in range(source * size, (source + 1) * size) if scores[at] > NEG_INF]
        if not real:
            raise ValueError(
                f"row {source + 1}: expected logits that are numbers, got NaN; load a checkpoint "
                "of before the training went wrong"
            )
        beam_paths.append([(last[at], ended_in[at]) for at in real])
        ended = {at: ids[at][last[at]] == END for at in real}
        found.append(
            [Hypothesis(ids[at][: last[at] + 1 - ended[at]], log_p[at], ended[at]) for at in real]
        )
    whole = [[*given, *best[0].ids] for given, best in zip(first.tolist(), found, strict=True)]
    end_decoding(beam_paths, whole)
    return found
