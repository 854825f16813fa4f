"""Law 5: incremental decoding equals one parallel forward pass; cached equals uncached."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from seqlearn.batch import END
from seqlearn.nn.decoder_state import Beams, select, shares_memory
from seqlearn.testing.definition import Law, law
from seqlearn.testing.generation_helpers import (
    GAP,
    generate_arguments,
    generated_ids,
    generation_limit,
    next_logits,
)
from seqlearn.testing.trial import Trial


@law(5, "incremental decoding", generates=True)
def incremental_decoding(trial: Trial) -> None:
    """Decoding in several calls that pass on the state equals decoding in one call.

    Between calls rows are reordered; of a decoder that shares the memory also as beams.
    """
    module, batch = trial.module(), trial.batch(trial.examples())
    tokens, start, state, width = batch.target, 0, None, 1
    shared = shares_memory(module, "decode")
    as_beams = shared and trial.draw(st.booleans(), "whether rows are beams that share the memory")
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        whole, _ = module.decode(tokens, memory)
        number = 0
        while start < tokens.shape[1]:
            number += 1
            size = trial.draw(st.integers(1, 3), f"tokens of call {number}")
            part, state = module.decode(tokens[:, start : start + size], memory, state)
            label = f"outputs from step {start} on, incremental and in one call"
            trial.close(part, whole[:, start : start + size], label)
            start += size
            if start < tokens.shape[1] and trial.draw(
                st.booleans(), f"rows reordered after call {number}"
            ):
                # As in beam search: permuted, dropped and repeated.
                label = f"rows after call {number}"
                if as_beams:
                    beams = _draw_beams(trial, len(tokens) // width, width, label)
                    rows, before, width = beams.rows.flatten(), width, beams.rows.shape[1]
                    state, memory = select(state, beams), select(memory, beams.rows[:, 0] // before)
                else:
                    order = st.lists(st.integers(0, len(tokens) - 1), min_size=1, max_size=4)
                    rows = torch.tensor(trial.draw(order, label))
                    state, memory = select(state, rows), select(memory, rows)
                tokens, whole = tokens[rows], whole[rows]


def _draw_beams(trial: Trial, sources: int, width: int, label: str) -> Beams:
    """Draw the sources that stay, how many beams each has, and which row each beam continues."""
    every = st.integers(0, sources - 1)
    kept = sorted(trial.draw(st.lists(every, min_size=1, unique=True), f"sources of {label}"))
    size = trial.draw(st.integers(1, 3), f"beams of {label}")
    line = st.lists(st.integers(0, width - 1), min_size=size, max_size=size)
    lines = trial.draw(st.lists(line, min_size=len(kept), max_size=len(kept)), label)
    stay = torch.tensor(kept)
    return Beams(torch.tensor(lines) + width * stay[:, None], stay)


@law(5, "cached equals uncached", generates=True)
def cached_equals_uncached(trial: Trial) -> None:
    """Greedy generation picks the most likely token of a forward pass without a cache."""
    drawn = trial.examples(max_size=3)
    module = trial.module()
    limit = generation_limit(trial, drawn)
    texts = module.generate(**generate_arguments(trial, drawn), max_new_tokens=limit)
    generated = generated_ids(trial, texts)
    for number, (example, text) in enumerate(zip(drawn, generated, strict=True)):
        tokens = list(example[1][:2])
        while len(tokens) <= len(text):
            best = next_logits(trial, module, example, tokens).topk(2)
            if best.values[0] - best.values[1] < GAP:
                break
            token = int(best.indices[0])
            ended = len(tokens) == len(text)
            if ended and len(text) - len(example[1][:2]) == limit:
                break
            picked = "the end symbol" if ended else text[len(tokens)]
            trial.expect(
                (token == END) == ended and (ended or text[len(tokens)] == token),
                f"example {number}: after {tokens} generate picks {picked}, but the most likely "
                f"token is {'the end symbol' if token == END else token}",
            )
            if ended:
                break
            tokens.append(token)


LAWS: tuple[Law, ...] = (incremental_decoding, cached_equals_uncached)
