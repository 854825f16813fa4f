"""Law 6: beam search, scores and sampling return what their definitions say."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from hypothesis import strategies as st

from seqlearn.batch import END, length_mask
from seqlearn.testing.cases import Example
from seqlearn.testing.definition import Law, law
from seqlearn.testing.generation_helpers import (
    GAP,
    free_ids,
    generate_arguments,
    generated_ids,
    generation_limit,
    log_probabilities,
    near_tie,
    raw_sources,
    raw_targets,
)
from seqlearn.testing.trial import NotApplicable, Trial

MAX_TEXTS = 100
"""The most texts that exhaustive search compares."""


@law(6, "beam 1 equals greedy", generates=True)
def beam_1_equals_greedy(trial: Trial) -> None:
    """Beam search with beam size 1 returns what greedy search returns."""
    drawn = trial.examples(max_size=3)
    options: dict[str, Any] = {
        "length_penalty": trial.draw(st.sampled_from([-1.0, 0.0, 1.0]), "length penalty"),
        "early_stopping": trial.draw(st.booleans(), "early stopping"),
    }
    module, given = trial.module(), generate_arguments(trial, drawn)
    limit = generation_limit(trial, drawn)
    greedy = module.generate(**given, max_new_tokens=limit)
    beam = module.generate(**given, strategy="beam", beam_size=1, **options, max_new_tokens=limit)
    pairs = zip(generated_ids(trial, greedy), generated_ids(trial, beam), strict=True)
    for number, pair in enumerate(pairs):
        trial.expect(
            pair[0] == pair[1] or near_tie(trial, module, drawn[number], pair),
            f"example {number}: greedy search returns {pair[0]}, beam search {pair[1]}",
        )


@law(6, "exhaustive beam", generates=True)
def exhaustive_beam(trial: Trial) -> None:
    """A beam that never prunes ranks all texts as exhaustive search does."""
    (example,) = trial.examples(max_size=1)
    penalty = trial.draw(st.sampled_from([-1.0, 0.0, 0.6, 1.0, 2.0]), "length penalty")
    stopping: Any = trial.draw(st.sampled_from([False, True, "never"]), "early stopping")
    module = trial.module()
    limit, free = max(1, min(3, trial.under_test.widest_target - 1)), free_ids(trial)
    while limit > 1 and len(free) ** limit > MAX_TEXTS:
        limit -= 1
    texts = [list(ids) for ids in itertools.product(free, repeat=limit)]
    scores: dict[tuple[int, ...], float] = {}
    of_all = log_probabilities(trial, module, example, texts).tolist()
    for ids, rows in zip(texts, of_all, strict=True):
        made = 0.0
        for length, token in enumerate(ids):
            scores[tuple(ids[:length])] = (made + rows[length][END]) / (length + 1) ** penalty
            made += rows[length][token]
        scores[tuple(ids)] = made / limit**penalty
    ranked = sorted(scores, key=lambda ids: -scores[ids])
    (values,) = module.generate(
        raw_sources(trial, [example]),
        strategy="beam",
        beam_size=len(ranked) + 1,
        length_penalty=penalty,
        early_stopping=stopping,
        num_return_sequences=len(ranked),
        max_new_tokens=limit,
    )
    found = generated_ids(trial, [values] if len(ranked) == 1 else values)
    trial.expect(
        sorted(map(tuple, found)) == sorted(scores),
        f"expected each of {len(ranked)} texts once, got {len(found)} texts",
    )
    for place, (mine, theirs) in enumerate(zip(map(tuple, found), ranked, strict=True)):
        gap = abs(scores[mine] - scores[theirs])
        trial.error = max(trial.error, gap)
        trial.expect(
            gap < GAP,
            f"rank {place}: exhaustive search has {list(theirs)} ({scores[theirs]:.4g} nats), beam "
            f"search {list(mine)} ({scores[mine]:.4g})",
        )


STRATEGIES: list[dict[str, Any]] = [
    {"num_return_sequences": 1},
    {"num_return_sequences": 3, "strategy": "beam", "beam_size": 3},
    {"num_return_sequences": 2, "strategy": "sample"},
]


@law(6, "scores", generates=True)
def scores(trial: Trial) -> None:
    """Scores from generate equal those from score, which equal those of a forward pass."""
    drawn = trial.examples(max_size=3)
    options = trial.draw(st.sampled_from(STRATEGIES), "options")
    module, given = trial.module(), generate_arguments(trial, drawn)
    limit = generation_limit(trial, drawn)
    generated, returned = module.generate(
        **given, **options, max_new_tokens=limit, return_scores=True
    )
    if options["num_return_sequences"] == 1:
        generated, returned = [[text] for text in generated], returned[:, None]
    generated = [generated_ids(trial, texts) for texts in generated]
    for place in range(options["num_return_sequences"]):
        rows = [row for row, found in enumerate(generated) if place < len(found)]
        if not rows:
            continue
        texts = [generated[row][place] for row in rows]
        sources = raw_sources(trial, [drawn[row] for row in rows])
        theirs = module.score(sources, raw_targets(trial, texts))
        trial.close(returned[rows, place], theirs, "scores from generate and from score")
        batch = trial.batch([(drawn[r][0], text) for r, text in zip(rows, texts, strict=True)])
        assert batch.target_lengths is not None
        with torch.no_grad():
            log_p = module(batch).log_softmax(-1)
        labels = batch.target[:, 1:]
        each = log_p.gather(-1, labels[..., None]).squeeze(-1)
        mine = (each * length_mask(batch.target_lengths - 1, labels.shape[1])).sum(1)
        trial.close(theirs, mine.to(theirs.dtype), "scores from score and from a forward pass")


@law(6, "sampling", generates=True)
def sampling(trial: Trial) -> None:
    """The same seed draws the same texts, and the draws of one source do not depend on others."""
    drawn = trial.examples(max_size=3)
    seed = trial.draw(st.integers(0, 99), "generator's seed")
    module, limit = trial.module(), generation_limit(trial, drawn)

    def samples(examples: list[Example]) -> list[list[int]]:
        generator = torch.Generator().manual_seed(seed)
        given = generate_arguments(trial, examples)
        texts = module.generate(
            **given, strategy="sample", generator=generator, max_new_tokens=limit
        )
        return generated_ids(trial, texts)

    first, again, alone = samples(drawn), samples(drawn), samples(drawn[:1])
    trial.expect(again == first, f"with the same seed: {first}, then {again}")
    trial.expect(
        alone == first[:1],
        f"the first source draws {first[0]} in the batch and {alone[0]} alone",
    )


@law(6, "end of sequence", generates=True)
def end_of_sequence(trial: Trial) -> None:
    """Generation stops at the end symbol and otherwise continues up to the length limit."""
    drawn = trial.examples(max_size=3)
    options = trial.draw(st.sampled_from(STRATEGIES), "options")
    likely = trial.draw(st.booleans(), "end symbol is certain")
    module = trial.module()
    if module.head.bias is None:
        raise NotApplicable("its head has no bias with which to make the end symbol certain")
    with torch.no_grad():
        module.head.bias[END] += 1e4 if likely else -1e4
    limit = generation_limit(trial, drawn)
    found = module.generate(
        **generate_arguments(trial, drawn),
        **(options | {"num_return_sequences": 1}),
        max_new_tokens=limit,
    )
    for number, answer in enumerate(generated_ids(trial, found)):
        made = len(answer) - len(drawn[number][1][:2])
        expected = 0 if likely else limit
        trial.expect(
            made == expected,
            f"example {number}: expected {expected} tokens where the end symbol is "
            f"{'certain' if likely else 'impossible'}, got {made}",
        )


LAWS: tuple[Law, ...] = (beam_1_equals_greedy, exhaustive_beam, scores, sampling, end_of_sequence)
