"""Beam search as it is defined, one source at a time, without cache, memory shared or batches."""

from __future__ import annotations

from typing import NamedTuple

import torch

import seqlearn as sl
from seqlearn.batch import END, START
from seqlearn.decoding import LogitsProcessor, suppressed_tokens

NEG_INF = float("-inf")


class Text(NamedTuple):
    """A finished text: its rank, its ids without prefix and end symbol, its log-probability."""

    score: float
    ids: list[int]
    log_p: float


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
    processors: tuple[LogitsProcessor, ...] = (),
) -> list[Text]:
    """The best texts of a source, the best first."""
    memory = None
    if source is not None:
        ids = torch.tensor([source or [0]])
        memory = model.encode(ids, torch.tensor([len(source)]))
    prefix = [START, *prompt]
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[Text] = []
    for step in range(1, max_new_tokens + 1):
        candidates = []
        for log_p, ids in beams:
            read = torch.tensor([[*prefix, *ids]])
            hidden, _ = model.decode(read, memory)
            logits = model.head(hidden[:, -1])
            scores = logits.log_softmax(-1)
            for processor in processors:
                scores = processor(read, scores)
            scores[:, list(suppressed_tokens(model.spec.target))] = NEG_INF
            if processors and bool((scores == NEG_INF).all()):
                scores[:, END] = logits.log_softmax(-1)[:, END]
            candidates += [
                (log_p + each, [*ids, token]) for token, each in enumerate(scores[0].tolist())
            ]
        candidates.sort(key=lambda candidate: -candidate[0])
        candidates = candidates[: 2 * beam_size]
        last = step == max_new_tokens
        for log_p, ids in candidates[:beam_size]:
            if (ids[-1] == END or last) and log_p > NEG_INF:
                text = ids[:-1] if ids[-1] == END else ids
                finished.append(Text(log_p / step**length_penalty, text, log_p))
        finished.sort(key=lambda text: -text.score)
        finished = finished[:beam_size]
        beams = [] if last else [each for each in candidates if each[1][-1] != END][:beam_size]
        if not beams or beams[0][0] == NEG_INF:
            break
        worst = finished[-1].score if len(finished) == beam_size else NEG_INF
        if early_stopping is True:
            enough = worst > NEG_INF
        else:
            furthest = early_stopping == "never" and length_penalty > 0
            length = max_new_tokens if furthest else step
            enough = beams[0][0] / length**length_penalty <= worst
        if enough:
            break
    return finished
