"""Beam search as it is defined: one source at a time, all tokens read anew in each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import seqlearn as sl
from seqlearn.batch import END, START
from seqlearn.decoding import LogitsProcessor, suppressed_tokens
from seqlearn.nn import select

NEG_INF = float("-inf")


class Text(NamedTuple):
    """A finished text: what it is ranked by, its ids without prefix and end symbol."""

    score: float
    ids: list[int]


def next_scores(
    model: sl.SequenceModule,
    memory: sl.Memory | None,
    texts: Sequence[list[int]],
    processors: Sequence[LogitsProcessor],
) -> list[list[float]]:
    """The log-probabilities of the next token of some texts of one source, of equal length."""
    read = torch.tensor(texts)
    copied = select(memory, torch.zeros(len(texts), dtype=torch.long))
    log_p: Tensor = model.head(model.decode(read, copied)[0][:, -1]).log_softmax(-1)
    scores = log_p
    for processor in processors:
        scores = processor(read, scores)
    scores = scores.clone()
    scores[:, list(suppressed_tokens(model.spec.target))] = NEG_INF
    blocked = (scores == NEG_INF).all(1)
    scores[blocked, END] = log_p[blocked, END]
    rows: list[list[float]] = scores.tolist()
    return rows


@torch.no_grad()
def slow_beam_search(
    model: sl.SequenceModule,
    source: list[int] | None,
    prompt: list[int],
    beam_size: int,
    max_new_tokens: int,
    *,
    length_penalty: float = 1.0,
    early_stopping: bool | str = False,
    processors: Sequence[LogitsProcessor] = (),
) -> list[Text]:
    """The best texts of a source, the best first."""
    memory = None
    if source is not None:
        memory = model.encode(torch.tensor([source or [0]]), torch.tensor([len(source)]))
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[Text] = []
    for step in range(1, max_new_tokens + 1):
        read = [[START, *prompt, *ids] for _, ids in beams]
        candidates = [
            (log_p + each, [*ids, token])
            for (log_p, ids), scores in zip(
                beams, next_scores(model, memory, read, processors), strict=True
            )
            for token, each in enumerate(scores)
        ]
        candidates = sorted(candidates, key=lambda each: -each[0])[: 2 * beam_size]
        last = step == max_new_tokens
        finished += [
            Text(log_p / step**length_penalty, ids[:-1] if ids[-1] == END else ids)
            for log_p, ids in candidates[:beam_size]
            if log_p > NEG_INF and (last or ids[-1] == END)
        ]
        finished = sorted(finished, key=lambda text: -text.score)[:beam_size]
        beams = [each for each in candidates if each[1][-1] != END][:beam_size]
        if last or not beams or beams[0][0] == NEG_INF:
            break
        worst = finished[-1].score if len(finished) == beam_size else NEG_INF
        furthest = early_stopping == "never" and length_penalty > 0
        length = max_new_tokens if furthest else step
        if worst > NEG_INF and (
            early_stopping is True or beams[0][0] / length**length_penalty <= worst
        ):
            break
    return finished
