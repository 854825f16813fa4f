"""The protocols of decoding: what a model provides, and what a decoding strategy provides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seqlearn.batch import END, PAD, START, Memory
from seqlearn.decoding.logits import NEG_INF, NO_TEXT, LogitsProcessor
from seqlearn.decoding.output_layer import OutputLayer
from seqlearn.decoding.top_tokens import TopTokens
from seqlearn.nn.decoder_state import State
from seqlearn.spec import GeneratedSpec

SUPPRESSED = (PAD, START)
"""The ids that no decoding generates."""


@runtime_checkable
class LogitsFunction(Protocol):
    """The model, as decoding calls it.

    Examples:
        >>> def model(tokens, memory, state):  # each token follows itself
        ...     return torch.eye(7)[tokens[:, -1]], state
        >>> isinstance(model, LogitsFunction)
        True
    """

    def __call__(
        self, tokens: Int[Tensor, "rows time"], memory: Memory | None, state: State | None
    ) -> tuple[Float[Tensor, "rows vocab"], State]:
        """Read more tokens; return the logits of the next token and the new decoder state."""
        ...


class _History(NamedTuple):
    """The decoder's state, the ids that it has read, and how many calls there were.

    Ids are kept for processors alone.
    """

    decoder: State | None
    ids: Tensor | None
    step: int


class NextToken:
    """The scores of the next token: the model's logits after all logits processors.

    Strategies call `logits` or `log_probs`, or for the most probable tokens alone, which costs
    less, `best` (greedy search) or `continuations` (beam search). They pass the state on, and
    select its rows with `seqlearn.nn.select` when rows move or leave. The state also holds the ids
    so far, so that processors follow each row through a beam.

    Args:
        model: The model.
        processors: Applied in this order.
        suppress: The ids that are never generated; see `suppressed_tokens`.
        shares_memory: Whether the model accepts several rows for each row of the memory; see
            `seqlearn.nn.Decoder`.
        head: Turns what the model returns, a vector for each row, into logits. So the logits of a
            large vocabulary are computed for some rows at a time, which stay in the processor's
            cache. `None` if the model returns logits.

    Attributes:
        shares_memory: As given. Beam search then selects with `seqlearn.nn.Beams`.

    Examples:
        >>> from seqlearn.decoding import NoRepeatNGram
        >>> def model(tokens, memory, state):  # 4 is more probable than 5
        ...     return torch.tensor([[0.0, 0.0, 0.0, 0.0, 2.0, 1.0]]), state
        >>> next_token = NextToken(model, [NoRepeatNGram(1)])
        >>> next_token.best(torch.tensor([[2, 4]]), None)[0]
        tensor([5])
    """

    def __init__(
        self,
        model: LogitsFunction,
        processors: Sequence[LogitsProcessor] = (),
        suppress: Sequence[int] = SUPPRESSED,
        *,
        shares_memory: bool = False,
        head: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self._model = model
        self._output_layer = OutputLayer(head)
        self._processors = processors
        self._suppress = suppress
        self._top: TopTokens | None = None
        self.shares_memory = shares_memory

    def logits(
        self, tokens: Int[Tensor, "rows time"], memory: Memory | None, state: State | None = None
    ) -> tuple[Float[Tensor, "rows vocab"], State]:
        """Read more tokens of each row, and score the next one.

        Args:
            tokens: The first call gets start symbol and prompt, each later one the last token.
            memory: The encoder's output; `None` for a language model.
            state: What the call before returned; `None` in the first.

        Returns:
            Logits, -∞ for what may not be generated, in single precision at least, also under
            autocast; and the new state.

        Raises:
            ValueError: If the model's logits are NaN or infinite; the message names step and row.
                If the processors leave no token, not even the end.
        """
        outputs, history = self._call(tokens, memory, state)
        logits = self._output_layer(outputs)
        _check_numbers(logits.amax(-1), logits, history.step)
        processed = self._process(logits, history.ids)
        if self._processors and bool((processed.amax(-1) == NEG_INF).any()):
            raise ValueError(NO_TEXT)
        return processed, history

    def log_probs(
        self, tokens: Int[Tensor, "rows time"], memory: Memory | None, state: State | None = None
    ) -> tuple[Float[Tensor, "rows vocab"], State]:
        """As `logits`, with the logarithm of the softmax taken before the processors.

        So tokens that may not be generated keep their share of the probability, as in Hugging Face.
        """
        outputs, history = self._call(tokens, memory, state)
        logits = self._output_layer(outputs)
        _check_numbers(logits.amax(-1), logits, history.step)
        return self._process(logits.log_softmax(-1), history.ids), history

    def best(
        self, tokens: Int[Tensor, "rows time"], memory: Memory | None, state: State | None = None
    ) -> tuple[Int[Tensor, " rows"], State]:
        """Read more tokens of each row, and return the one with the highest score of `logits`.

        Arguments and errors as in `logits`.
        """
        if self._processors:
            logits, history = self.logits(tokens, memory, state)
            return logits.argmax(-1), history
        outputs, history = self._call(tokens, memory, state)
        found = [
            self._top_tokens(logits).best(logits) for logits in self._output_layer.parts(outputs, 1)
        ]
        best, largest = (torch.cat(parts) for parts in zip(*found, strict=True))
        self._check(largest, outputs, history.step)
        return best, history

    def continuations(
        self,
        tokens: Int[Tensor, "rows time"],
        memory: Memory | None,
        state: State | None,
        scores: Float[Tensor, "sources beams"],
        size: int,
    ) -> tuple[
        Float[Tensor, "sources next"],
        Int[Tensor, "sources next"],
        Int[Tensor, "sources next"],
        State,
    ]:
        """Read more tokens of each row, and find the most probable continuations of each source.

        Args:
            tokens: As in `logits`; the rows of a source are adjacent.
            memory: As in `logits`; with `shares_memory` one row per source.
            state: As in `logits`.
            scores: The log-probability of each row so far.
            size: Number of continuations of each source; fewer if there are not so many.

        Returns:
            Their log-probabilities, in descending order: the score of the row plus that of
            `log_probs`; the row that each continues; its token; and the new state.

        Raises:
            ValueError: As `logits`.
        """
        if self._processors:
            log_p, history = self.log_probs(tokens, memory, state)
            return *self._top_tokens(log_p).continuations(log_p, scores, size), history
        outputs, history = self._call(tokens, memory, state)
        beams, first, totals, found = scores.shape[1], 0, [], []
        for logits in self._output_layer.parts(outputs, beams):
            top = self._top_tokens(logits)
            leaders = top.leaders(logits)
            total = self._output_layer.log_sum_exp(logits, leaders.amax(-1))
            shift = scores[first // beams :][: len(logits) // beams] - total.view(-1, beams)
            best, row, token = top.continuations(logits, shift, size, leaders)
            totals.append(total)
            found.append((best, row + first, token))
            first += len(logits)
        self._check(torch.cat(totals), outputs, history.step)
        best, row, token = (torch.cat(parts) for parts in zip(*found, strict=True))
        return best, row, token, history

    def _check(self, summary: Tensor, outputs: Tensor, step: int) -> None:
        """As `_check_numbers`, of outputs whose logits are not kept."""
        if not bool(summary.isfinite().all()):
            _check_numbers(summary, self._output_layer(outputs), step)

    def _top_tokens(self, logits: Tensor) -> TopTokens:
        if self._top is None:
            self._top = TopTokens(logits.shape[1], self._suppress, logits.device)
        return self._top

    def _call(
        self, tokens: Tensor, memory: Memory | None, state: State | None
    ) -> tuple[Tensor, _History]:
        history = _History(None, None, 0) if state is None else state
        outputs, decoder = self._model(tokens, memory, history.decoder)
        ids = None
        if self._processors:
            ids = tokens if history.ids is None else torch.cat([history.ids, tokens], 1)
        return outputs, _History(decoder, ids, history.step + 1)

    def _process(self, scores: Tensor, ids: Tensor | None) -> Tensor:
        """Apply the processors; a row in which they leave no token ends."""
        processed = scores
        if ids is not None:
            for processor in self._processors:
                processed = processor(ids, processed)
        suppress = torch.tensor(self._suppress, dtype=torch.long, device=scores.device)
        processed = processed.index_fill(1, suppress, NEG_INF)
        if ids is not None:
            blocked = (processed == NEG_INF).all(-1)
            processed[:, END] = torch.where(blocked, scores[:, END], processed[:, END])
        return processed


def _check_numbers(summary: Tensor, logits: Tensor, step: int) -> None:
    """Check that the logits are numbers; else a strategy would return arbitrary tokens.

    Args:
        summary: A number for each row that is finite if its largest logit is.
        logits: The logits.
        step: Number of the step.
    """
    if bool(summary.isfinite().all()):
        return
    row = int((~summary.isfinite()).nonzero()[0])
    kind = "NaN" if bool(logits[row].isnan().any()) else "infinite"
    raise ValueError(
        f"the model's logits are {kind} at decoding step {step} (row {row + 1} of {len(logits)}); "
        "load a checkpoint from before the training diverged, use a precision with a larger range, "
        "or correct sources with very large numbers"
    )


@runtime_checkable
class DecodingStrategy(Protocol):
    """A decoding strategy: how token ids are generated from next-token scores.

    `generate(strategy=…)` takes any object with these members. `GreedySearch`, `BeamSearch` and
    `Sampling` are the ones that have a name. To be recorded, a strategy reports each step and its
    result: `seqlearn.instrumentation.decoding_step` and `end_decoding`.

    Examples:
        >>> import seqlearn as sl
        >>> class Shortest:
        ...     rows_per_source, num_seeds = 1, 0
        ...
        ...     def __call__(self, next_token, prefix, memory, *, max_new_tokens, seeds):
        ...         return [[[]] for _ in prefix]
        >>> model = sl.GRU(sl.SequenceSpec(sl.TextSpec(9, 4), sl.TextSpec(9, 4)), d_model=8)
        >>> model.generate([[4, 5], [6]], strategy=Shortest())
        [[], []]
    """

    @property
    def rows_per_source(self) -> int:
        """Rows of a batch that one source takes up; batches are made accordingly smaller."""
        ...

    @property
    def num_seeds(self) -> int:
        """Seeds that each source needs; zero if nothing is drawn."""
        ...

    def __call__(
        self,
        next_token: NextToken,
        prefix: Int[Tensor, "batch time"],
        memory: Memory | None,
        *,
        max_new_tokens: int,
        seeds: Sequence[Sequence[int]],
    ) -> list[list[list[int]]]:
        """Generate for each row of `prefix`.

        Args:
            next_token: Scores the next token.
            prefix: Start symbol and prompt, of one length in all rows.
            memory: The encoder's output; `None` for a language model.
            max_new_tokens: Most tokens to generate, the end symbol counted.
            seeds: For each row `num_seeds` seeds, which depend on the generator and the place of
                the source alone, not on how sources are put into batches.

        Returns:
            For each row the generated ids, best first, without prefix and end symbol. `generate`
            takes the first `num_return_sequences` of them.
        """
        ...


def suppressed_tokens(target: GeneratedSpec) -> tuple[int, ...]:
    """The ids that are never generated for this target: its `suppressed_ids`.

    Args:
        target: The target to generate.

    Examples:
        >>> from seqlearn.spec import TextSpec
        >>> suppressed_tokens(TextSpec(9, 5))  # padding, start, unknown
        (0, 2, 1)
    """
    return target.suppressed_ids


def check_max_new_tokens(max_new_tokens: int) -> None:
    """Check that the limit leaves room for a token.

    Raises:
        ValueError: If `max_new_tokens` is below one.
    """
    if max_new_tokens < 1:
        raise ValueError(f"expected max_new_tokens of at least 1, got {max_new_tokens}")
