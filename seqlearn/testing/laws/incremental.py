"""Law 5: one token at a time equals all at once; cached equals uncached."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from seqlearn.batch import END
from seqlearn.nn.protocols import select
from seqlearn.testing.generation_helpers import GAP, asked, longest_answer, next_logits
from seqlearn.testing.law import TEXT_TARGET, Law, Trial, law


@law(5, "incremental decoding", shapes=TEXT_TARGET)
def in_parts(trial: Trial) -> None:
    """Tokens in parts, with the state of the part before, give what all at once give."""
    module, batch = trial.module(), trial.batch(trial.examples())
    tokens, start, state = batch.target, 0, None
    with torch.no_grad():
        memory = module.encode(batch.source, batch.source_lengths)
        whole, _ = module.decode(tokens, memory)
        number = 0
        while start < tokens.shape[1]:
            number += 1
            size = trial.draw(st.integers(1, 3), f"tokens of part {number}")
            part, state = module.decode(tokens[:, start : start + size], memory, state)
            what = f"answers from step {start} on, in parts and at once"
            trial.close(part, whole[:, start : start + size], what)
            start += size
            if start < tokens.shape[1] and trial.draw(st.booleans(), f"rows move after {number}"):
                # As they do in beam search: about, away, and more than once.
                places = st.lists(st.integers(0, len(tokens) - 1), min_size=1, max_size=4)
                rows = torch.tensor(trial.draw(places, f"rows after {number}"))
                state, memory = select(state, rows), select(memory, rows)
                tokens, whole = tokens[rows], whole[rows]


@law(5, "cached equals uncached", shapes=TEXT_TARGET)
def cached_answers(trial: Trial) -> None:
    """What generation answers greedily is the likeliest token of everything read at once."""
    drawn = trial.examples(max_size=3)
    module = trial.module()
    limit = longest_answer(trial, drawn)
    answers = module.generate(**asked(trial, drawn), max_new_tokens=limit)
    for number, (example, answer) in enumerate(zip(drawn, answers, strict=True)):
        tokens = list(example[1][:2])
        while len(tokens) <= len(answer):
            best = next_logits(trial, module, example, tokens).topk(2)
            if best.values[0] - best.values[1] < GAP:
                break
            token = int(best.indices[0])
            ended = len(tokens) == len(answer)
            if ended and len(answer) - len(example[1][:2]) == limit:
                break
            said = "the end" if ended else answer[len(tokens)]
            trial.expect(
                (token == END) == ended and (ended or answer[len(tokens)] == token),
                f"example {number}: after {tokens} generate answers {said}, and the likeliest "
                f"token is {'the end' if token == END else token}",
            )
            if ended:
                break
            tokens.append(token)


LAWS: tuple[Law, ...] = (in_parts, cached_answers)
