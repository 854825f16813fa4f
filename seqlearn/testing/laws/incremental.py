"""Law 5: incremental decoding equals one parallel forward pass; cached equals uncached."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from seqlearn.batch import END
from seqlearn.nn.decoder_state import select
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
    """Decoding in several calls that pass on the state equals decoding in one call."""
    module, batch = trial.module(), trial.batch(trial.examples())
    tokens, start, state = batch.target, 0, None
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
                order = st.lists(st.integers(0, len(tokens) - 1), min_size=1, max_size=4)
                rows = torch.tensor(trial.draw(order, f"rows after call {number}"))
                state, memory = select(state, rows), select(memory, rows)
                tokens, whole = tokens[rows], whole[rows]


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
