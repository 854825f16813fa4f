"""Greedy and beam search over an exported decoder, in numpy.

The definitions are those of `seqlearn.decoding`; tests compare the two. This file imports nothing
of seqlearn or torch, for each exported folder holds a copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

END = 3
MAX_BATCH_ROWS = 512
MAX_BATCH_TOKENS = 2**14
"""Rows of a batch times its longest row; a longer source is a batch of its own."""

NEG_INF = -np.inf
MOVED_SHARE = 0.75
"""What comes from the sources is copied without the finished ones once so few are left."""

Array = NDArray[Any]


@runtime_checkable
class Decoder(Protocol):
    """The graphs of an exported model, as a search calls them."""

    config: dict[str, Any]

    def encode(self, encoded: Sequence[Any]) -> dict[str, Any]:
        """What the decoder reads of these sources."""
        ...

    def initial_state(self, found: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """The state before the first token."""
        ...

    def step(self, feed: Mapping[str, Any], fetch: Sequence[str]) -> list[Any]:
        """One step of the decoder."""
        ...

    def choose(self, graph: str, feed: Mapping[str, Any]) -> list[Array]:
        """The most probable tokens, by their logits."""
        ...

    def to_numpy(self, value: Any) -> Array:
        """An output of a graph as an array."""
        ...


def batches(
    encoded: Sequence[Any], starts: Sequence[Sequence[int]], rows_each: int, *, lengths: bool
) -> Iterator[list[int]]:
    """The indices of sources in batches of similar length, with prompts of one length each."""

    def size(row: int) -> tuple[int, int]:
        return len(starts[row]), len(encoded[row]) if lengths else 0

    batch: list[int] = []
    for row in sorted(range(len(encoded)), key=size):
        rows = (len(batch) + 1) * rows_each
        full = rows > MAX_BATCH_ROWS or rows * sum(size(row)) > MAX_BATCH_TOKENS
        if batch and (full or len(starts[row]) != len(starts[batch[0]])):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


class Hypothesis(NamedTuple):
    """A text that a beam search has found, and the score that ranks it."""

    score: float
    ids: list[int]


class Search:
    """A search for the texts of a batch of sources.

    Args:
        decoder: The graphs.
        encoded: The sources, encoded.
        options: From `search_options`.
    """

    def __init__(
        self, decoder: Decoder, encoded: Sequence[Any], options: Mapping[str, Any]
    ) -> None:
        self._decoder, self._options = decoder, options
        self._graph = decoder.config["graphs"]["decoder"]
        self._suppressed = np.array(decoder.config["suppressed_ids"])
        self._found = decoder.encode(encoded)
        self._count = len(encoded)

    def __call__(self, prefix: Array) -> list[list[list[int]]]:
        """The texts of each source, best first, without prefix and end symbol.

        Args:
            prefix: The start symbol and the prompt of each source.
        """
        self._state = self._decoder.initial_state(self._found, len(prefix))
        self._memory = {name: self._found[name] for name in self._graph["memory"]}
        self._memory_of = np.arange(len(prefix))  # the source of each of its rows
        self._prompt_length, self._read = prefix.shape[1], 0
        self._ids = prefix[:, None]  # what each row has read
        parents = np.arange(len(prefix))[:, None]
        if self._graph["one_token"]:
            for at in range(prefix.shape[1] - 1):
                self._call(prefix[:, None, at : at + 1], parents)
        run = self._beam if self._options["strategy"] == "beam" else self._greedy
        return run(self._ids[:, :, -1:] if self._graph["one_token"] else self._ids, parents)

    def _call(self, tokens: Array, parents: Array) -> Any:
        """One step of the decoder: its logits; the new state is in `_state`."""
        self._read += tokens.shape[2]
        limit = self._decoder.config["limits"].get("target")
        if limit is not None and self._read > limit["tokens"]:
            raise ValueError(
                f"expected at most {limit['tokens']} positions, got {self._read}; {limit['advice']}"
            )
        names = [f"new.{name}" for name in self._state]
        feed = {"tokens": tokens, "parents": parents, **self._memory, **self._state}
        logits, *new = self._decoder.step(feed, ["logits", *names])
        self._state = dict(zip(self._state, new, strict=True))
        return logits

    def _check_numbers(self, wrong: Array) -> None:
        """Check that logits are numbers; else the tokens would be arbitrary."""
        if wrong.any():
            raise ValueError(
                f"the model's logits are NaN or infinite at decoding step {self._read}; export a "
                "checkpoint from before the training diverged, or check the sources for very large "
                "numbers"
            )

    def _keep(self, active: Array) -> None:
        """Copy what comes from the sources without the finished ones."""
        at = np.searchsorted(self._memory_of, active)
        for name, value in self._memory.items():
            self._memory[name] = self._decoder.to_numpy(value)[at]
        self._memory_of = active

    # Greedy search

    def _greedy(self, tokens: Array, parents: Array) -> list[list[list[int]]]:
        options = self._options
        texts: list[list[list[int]]] = [[[]] for _ in range(self._count)]
        active = np.arange(self._count)
        finished = np.zeros(self._count, dtype=bool)
        plain = not self._processors()
        for _ in range(options["max_new_tokens"]):
            logits = self._call(tokens, parents)
            if plain:
                picked, total = self._decoder.choose("next", {"logits": logits})
                self._check_numbers(np.isnan(total) | np.isposinf(total))
            else:
                array = self._decoder.to_numpy(logits)
                self._check_numbers(~np.isfinite(array.max(-1)))
                picked = self._process(array).argmax(-1)
            finished |= picked[:, 0] == END
            if finished.all():
                break
            for row in np.flatnonzero(~finished):
                texts[active[row]][0].append(int(picked[row, 0]))
            parents = np.arange(len(active))[:, None]
            if (left := len(active) - finished.sum()) < MOVED_SHARE * len(active):
                rows = np.flatnonzero(~finished)
                active, picked, parents = active[rows], picked[rows], parents[rows]
                self._ids, finished = self._ids[rows], np.zeros(left, dtype=bool)
                self._keep(active)
            tokens = picked[:, :, None]
            self._ids = np.concatenate([self._ids, tokens], 2)
        return texts

    # Beam search

    def _beam(self, tokens: Array, parents: Array) -> list[list[list[int]]]:
        options = self._options
        size, limit = options["beam_size"], options["max_new_tokens"]
        found: list[list[Hypothesis]] = [[] for _ in range(self._count)]
        active, sums = np.arange(self._count), np.zeros((self._count, 1), np.float32)
        for step in range(limit):
            log_p, ids = self._best(tokens, parents, 2 * size)
            total = (sums[:, :, None] + log_p).reshape(len(active), -1)
            order = np.argsort(-total, axis=1, kind="stable")[:, : 2 * size]
            total = np.take_along_axis(total, order, 1)
            row, token = (
                order // log_p.shape[2],
                np.take_along_axis(ids.reshape(len(active), -1), order, 1),
            )
            ends = (token == END) | (step == limit - 1)
            self._finish(found, active, total, ends, row, token, step)
            sums = np.where(ends, NEG_INF, total)
            at = np.argsort(-sums, axis=1, kind="stable")[:, :size]
            sums = np.take_along_axis(sums, at, 1)
            row, token = np.take_along_axis(row, at, 1), np.take_along_axis(token, at, 1)
            left = np.array([not self._is_done(found[source], best, step + 1)
                for source, best in zip(active, sums[:, 0], strict=True)])  # fmt: skip
            if not left.any():
                break
            # Rows of the step before, counted over all of its sources.
            parents = (np.arange(len(active))[:, None] * self._ids.shape[1] + row)[left]
            self._ids = np.concatenate(
                [np.take_along_axis(self._ids, row[:, :, None], 1), token[:, :, None]], 2
            )[left]
            sums, tokens, active = sums[left], token[left][:, :, None], active[left]
            if len(active) < len(left):
                self._keep(active)
        if empty := [number for number, texts in enumerate(found, 1) if not texts]:
            raise ValueError(
                f"{len(empty)} of {len(found)} sources: no text has a probability above zero; "
                "relax the options that exclude tokens, such as min_new_tokens"
            )
        return [[hypothesis.ids for hypothesis in texts] for texts in found]

    def _best(self, tokens: Array, parents: Array, count: int) -> tuple[Array, Array]:
        """The most probable next tokens of each row: log-probabilities and ids."""
        vocab = self._decoder.config["output_size"]
        count = min(count, vocab)
        if not self._processors():
            given = {"logits": self._call(tokens, parents), "count": np.array([count])}
            log_p, ids = self._decoder.choose("best", given)
            self._check_numbers(~np.isfinite(log_p.max(-1)))
            return log_p, ids
        logits = self._decoder.to_numpy(self._call(tokens, parents))
        highest = logits.max(-1, keepdims=True)
        self._check_numbers(~np.isfinite(highest))
        log_p = logits - highest - np.log(np.exp(logits - highest).sum(-1, keepdims=True))
        log_p = self._process(log_p)
        ids = np.argsort(-log_p, axis=-1, kind="stable")[..., :count]
        return np.take_along_axis(log_p, ids, -1), ids

    def _finish(
        self,
        found: list[list[Hypothesis]],
        active: Array,
        total: Array,
        ends: Array,
        row: Array,
        token: Array,
        step: int,
    ) -> None:
        """Keep the finished continuations among the best of each source."""
        size = self._options["beam_size"]
        ends = ends[:, :size] & (total[:, :size] > NEG_INF)
        for source, at in zip(*np.nonzero(ends), strict=True):
            score = total[source, at] / (step + 1) ** self._options["length_penalty"]
            ids = self._ids[source, row[source, at], self._prompt_length :].tolist()
            if token[source, at] != END:
                ids.append(int(token[source, at]))
            kept = found[active[source]]
            kept.append(Hypothesis(float(score), ids))
            kept.sort(key=lambda one: -one.score)
            del kept[size:]

    def _is_done(self, kept: Sequence[Hypothesis], best: float, length: int) -> bool:
        """Whether a source needs no more steps; `best` is that of its unfinished rows."""
        options = self._options
        worst = kept[-1].score if len(kept) == options["beam_size"] else NEG_INF
        if options["early_stopping"] is True:
            enough = worst > NEG_INF
        else:
            if options["early_stopping"] == "never" and options["length_penalty"] > 0:
                length = options["max_new_tokens"]
            enough = best / length ** options["length_penalty"] <= worst
        return bool(enough or best == NEG_INF)

    # Logits processors

    def _processors(self) -> list[Callable[[Array, Array], Array]]:
        options = self._options
        found: list[Callable[[Array, Array], Array]] = []
        if options["repetition_penalty"] != 1:
            found.append(self._penalize_repetition)
        if options["no_repeat_ngram_size"] > 0:
            found.append(self._block_ngrams)
        if options["min_new_tokens"] > self._ids.shape[2] - self._prompt_length:
            found.append(self._block_end)
        return found

    def _process(self, scores: Array) -> Array:
        """Apply the processors; a row in which they leave no token ends."""
        flat, ids = scores.reshape(-1, scores.shape[-1]), self._ids.reshape(-1, self._ids.shape[2])
        processed = flat.copy()
        for processor in self._processors():
            processed = processor(ids, processed)
        processed[:, self._suppressed] = NEG_INF
        blocked = (processed == NEG_INF).all(-1)
        processed[blocked, END] = flat[blocked, END]
        return processed.reshape(scores.shape)

    def _penalize_repetition(self, ids: Array, scores: Array) -> Array:
        penalty = self._options["repetition_penalty"]
        seen = np.take_along_axis(scores, ids, 1)
        seen = np.where(seen < 0, seen * penalty, seen / penalty)
        np.put_along_axis(scores, ids, seen, 1)
        return scores

    def _block_ngrams(self, ids: Array, scores: Array) -> Array:
        size = self._options["no_repeat_ngram_size"]
        if ids.shape[1] >= size:
            ngrams = np.lib.stride_tricks.sliding_window_view(ids, size, 1)
            last = ids[:, None, ids.shape[1] - size + 1 :]
            row, at = np.nonzero((ngrams[:, :, :-1] == last).all(-1))
            scores[row, ngrams[row, at, -1]] = NEG_INF
        return scores

    def _block_end(self, ids: Array, scores: Array) -> Array:  # noqa: ARG002
        scores[:, END] = NEG_INF
        return scores
