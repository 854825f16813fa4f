"""Beam search: at every step keep the most probable prefixes of each text.

    score(y) = log p(y | x) / |y|^length_penalty,    |y| = generated tokens, the end symbol counted

Length penalty, candidates and early stopping are those of Hugging Face transformers 5
(`generate(num_beams=…)`), to which `tests/parity/test_beam_search.py` compares this file.

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
from seqlearn.decoding.decode_loop import rows_to_keep
from seqlearn.decoding.logits import NEG_INF, NO_TEXT
from seqlearn.decoding.protocols import NextToken, check_max_new_tokens
from seqlearn.instrumentation import decoding_step, end_decoding
from seqlearn.nn.decoder_state import Beams, select


class Hypothesis(NamedTuple):
    """A text that a beam search has found.

    Attributes:
        ids: The generated tokens, without prefix and end symbol.
        log_probability: Of the generated tokens, the end symbol included where there is one, in
            nats; after the logits processors.
        finished: Whether it has the end symbol; if not, it was cut at the limit.

    Examples:
        >>> from seqlearn.decoding import BeamSearch, NextToken
        >>> def model(tokens, memory, state):  # after the token 4 the end, else 4
        ...     return 99 * torch.eye(5)[torch.where(tokens[:, -1] == 4, 3, 4)], state
        >>> prefix = torch.tensor([[2]])
        >>> best = BeamSearch(2).search(NextToken(model), prefix, None, max_new_tokens=5)[0][0]
        >>> best.ids, best.finished
        ([4], True)
    """

    ids: list[int]
    log_probability: float
    finished: bool


class _Candidates(NamedTuple):
    """Hypotheses of each source side by side, best first; all tensors are `batch candidates`.

    Attributes:
        score: The log-probability divided by a power of the length, which ranks them; -∞ where
            there is no hypothesis.
        log_probability: In nats.
        step: The step in which the last token was generated.
        row: The row in that step.
        token: The last token.
    """

    score: Tensor
    log_probability: Tensor
    step: Tensor
    row: Tensor
    token: Tensor

    @classmethod
    def empty(cls, sources: int, size: int, device: torch.device) -> _Candidates:
        """Candidates of no source yet."""
        scores = torch.full((2, sources, size), NEG_INF, device=device)
        numbers = torch.zeros(3, sources, size, dtype=torch.long, device=device)
        return cls(*scores, *numbers)

    def select(self, sources: Int[Tensor, " sources"]) -> _Candidates:
        """Those of these sources, in this order."""
        return _Candidates(*(part[sources] for part in self))

    def merge(self, others: _Candidates) -> _Candidates:
        """The best of both, as many as there are here."""
        score, at = torch.cat([self.score, others.score], 1).topk(self.score.shape[1])
        pairs = zip(self[1:], others[1:], strict=True)
        return _Candidates(score, *(torch.cat(pair, 1).gather(1, at) for pair in pairs))


@dataclass(frozen=True)
class BeamSearch:
    """Beam search over any decoder.

    At every step the `2 · beam_size` most probable continuations of a source's rows are candidates.
    Of the best `beam_size`, those with the end symbol are finished; the most probable `beam_size`
    of all unfinished ones are the next rows. At the limit all are finished as they are. Sources
    that are done leave the batch with all their rows, once they are an eighth of it.

    Attributes:
        beam_size: Rows for each source, and most texts that are found.
        length_penalty: The power of the length by which a log-probability is divided before it is
            compared: 0 compares log-probabilities, above 0 favours longer texts, below 0 shorter
            ones. Tokens of a prompt are not counted.
        early_stopping: When a source with `beam_size` finished texts is done: `True` at once;
            `False` when no unfinished row, finished now, would beat the worst of them; `"never"`
            when none can beat it any more, whatever follows.

    Raises:
        ValueError: If `beam_size` is below one, `length_penalty` is not finite, or
            `early_stopping` is none of the three.

    Source: Wu et al. 2016, section 7, for dividing by a power of the length.

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4))
        >>> model, search = sl.GRU(spec, d_model=8), BeamSearch(beam_size=8, length_penalty=0.6)
        >>> best = model.generate([[4, 5]], strategy=search, num_return_sequences=3)
        >>> len(best), len(best[0])
        (1, 3)
    """

    beam_size: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        if self.beam_size < 1:
            raise ValueError(f"expected beam_size of at least 1, got {self.beam_size}")
        if not math.isfinite(self.length_penalty):
            raise ValueError(f"expected a finite length_penalty, got {self.length_penalty}")
        early = self.early_stopping
        if not isinstance(early, bool) and early != "never":
            raise ValueError(
                f"expected early_stopping True, False or 'never', got {self.early_stopping!r}"
            )

    @property
    def rows_per_source(self) -> int:
        """The beam size."""
        return self.beam_size

    @property
    def num_seeds(self) -> int:
        """None: nothing is drawn."""
        return 0

    def __call__(
        self,
        next_token: NextToken,
        prefix: Int[Tensor, "batch time"],
        memory: Memory | None,
        *,
        max_new_tokens: int,
        seeds: Sequence[Sequence[int]] = (),  # noqa: ARG002 -- of the protocol
    ) -> list[list[list[int]]]:
        """Generate up to `beam_size` texts for each row of `prefix`; see `DecodingStrategy`.

        Raises:
            ValueError: As `search`.
        """
        found = self.search(next_token, prefix, memory, max_new_tokens=max_new_tokens)
        return [[hypothesis.ids for hypothesis in best] for best in found]

    @torch.no_grad()
    def search(
        self,
        next_token: NextToken,
        prefix: Int[Tensor, "batch time"],
        memory: Memory | None,
        *,
        max_new_tokens: int,
    ) -> list[list[Hypothesis]]:
        """Search until every source is done, or the limit.

        Args:
            next_token: Scores the next token.
            prefix: Start symbol and prompt, of one length in all rows.
            memory: The encoder's output; `None` for a language model.
            max_new_tokens: Most tokens to generate, the end symbol counted.

        Returns:
            For each row of `prefix` its hypotheses, best first: `beam_size` of them, or all if
            there are fewer.

        Raises:
            ValueError: If `max_new_tokens` is below one, or the logits are NaN or infinite.
        """
        check_max_new_tokens(max_new_tokens)
        finished = _Candidates.empty(len(prefix), self.beam_size, prefix.device)
        results: list[tuple[Tensor, _Candidates]] = []
        active = torch.arange(len(prefix), device=prefix.device)
        is_done = torch.zeros_like(active, dtype=torch.bool)
        beam_scores = prefix.new_zeros((len(prefix), 1), dtype=torch.float32)
        tokens, state = prefix, None
        parents: Tensor | None = None
        steps: list[tuple[Tensor | None, Tensor]] = []
        for step in range(max_new_tokens):
            decoding_step(parents)
            steps.append((parents, tokens[:, -1]))
            total, row, token, state = next_token.continuations(
                # Twice as many as rows, so that enough are unfinished also where the best all end.
                tokens,
                memory,
                state,
                beam_scores,
                2 * self.beam_size,
            )
            ends = token == END
            if step == max_new_tokens - 1:
                ends = torch.ones_like(ends)
            finished = finished.merge(self._finish(total, ends, row, token, step))
            beam_size = min(self.beam_size, total.shape[1])
            next_scores, at = total.masked_fill(ends, NEG_INF).topk(beam_size)
            enough = self._is_done(
                finished.score[:, -1], next_scores[:, 0], step + 1, max_new_tokens
            )
            done_now = (enough & ~is_done).nonzero()[:, 0]
            results.append((active[done_now], finished.select(done_now)))
            is_done = is_done | enough
            rows, token = row.gather(1, at), token.gather(1, at)
            kept = rows_to_keep(~is_done)
            if kept is not None:
                if len(kept) == 0:
                    break
                rows, token, next_scores = rows[kept], token[kept], next_scores[kept]
                active, is_done, finished = active[kept], is_done[kept], finished.select(kept)
            parents = rows.flatten()
            if next_token.shares_memory:
                state = select(state, Beams(rows, kept))
                memory = memory if kept is None else select(memory, kept)
            else:
                state = select(state, parents)
                if rows.shape != beam_scores.shape:
                    memory = select(memory, parents)  # else each row keeps its source
            beam_scores, tokens = next_scores, token.reshape(-1, 1)
        order = torch.cat([sources for sources, _ in results]).argsort()
        parts = zip(*(found for _, found in results), strict=True)
        return _backtrack(prefix, _Candidates(*(torch.cat(part)[order] for part in parts)), steps)

    def _finish(
        self, total: Tensor, ends: Tensor, row: Tensor, token: Tensor, step: int
    ) -> _Candidates:
        """The finished continuations among the best `beam_size`."""
        best = slice(0, self.beam_size)
        total, row, token = total[:, best], row[:, best], token[:, best]
        score = (total / (step + 1) ** self.length_penalty).masked_fill(~ends[:, best], NEG_INF)
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
            worst: Score of the worst finished text that is kept.
            best: Log-probability of the best unfinished row.
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
    prefix: Int[Tensor, "batch time"],
    finished: _Candidates,
    steps: list[tuple[Tensor | None, Tensor]],
) -> list[list[Hypothesis]]:
    """Follow the finished hypotheses back to their first token, and report their paths."""
    step, row = finished.step.flatten().cpu(), finished.row.flatten().cpu()
    tokens = torch.full((len(step), len(steps)), PAD)
    tokens[torch.arange(len(step)), step] = finished.token.flatten().cpu()
    here = row.clone()
    for number in range(len(steps) - 1, 0, -1):
        parents, inputs = steps[number]
        assert parents is not None
        longer = (step >= number).nonzero()[:, 0]
        tokens[longer, number - 1] = inputs.cpu()[here[longer]]
        here[longer] = parents.cpu()[here[longer]]
    size = finished.score.shape[1]
    scores, log_p = finished.score.flatten().tolist(), finished.log_probability.flatten().tolist()
    ids, last, last_row = tokens.tolist(), step.tolist(), row.tolist()
    found: list[list[Hypothesis]] = []
    beam_paths = []
    for source in range(len(prefix)):
        real = [at for at in range(source * size, (source + 1) * size) if scores[at] > NEG_INF]
        if not real:
            raise ValueError(NO_TEXT)
        beam_paths.append([(last[at], last_row[at]) for at in real])
        has_end = {at: ids[at][last[at]] == END for at in real}
        found.append(
            [
                Hypothesis(ids[at][: last[at] + 1 - has_end[at]], log_p[at], has_end[at])
                for at in real
            ]
        )
    whole = [[*start, *best[0].ids] for start, best in zip(prefix.tolist(), found, strict=True)]
    end_decoding(beam_paths, whole)
    return found
