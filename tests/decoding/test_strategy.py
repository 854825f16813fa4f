"""Which options belong to which strategy, and what does not make sense."""

from __future__ import annotations

import jaxtyping
import pytest
import torch

from seqlearn.decoding import Strategy


@pytest.mark.parametrize(
    ("name", "options", "num_return_sequences", "said"),
    [
        ("best", {}, 1, "expected strategy 'greedy', 'beam', 'sample', got 'best'"),
        ("greedy", {"beam_size": 4}, 1, "'greedy' does not use beam_size; .*strategy='beam'"),
        ("greedy", {"top_k": 4}, 1, "'greedy' does not use top_k; .*strategy='sample'"),
        ("beam", {"temperature": 1.0}, 1, "'beam' does not use temperature; .*strategy='sample'"),
        ("beam", {"generator": torch.Generator()}, 1, "'beam' does not use generator"),
        ("sample", {"length_penalty": 1.0}, 1, "'sample' does not use length_penalty; .*'beam'"),
        ("sample", {"early_stopping": False}, 1, "'sample' does not use early_stopping"),
        ("beam", {"beam_size": 0}, 1, "beam_size of at least 1, got 0"),
        ("beam", {"beam_size": 2}, 3, "num_return_sequences of at most beam_size=2, got 3"),
        ("beam", {}, 5, "num_return_sequences of at most beam_size=4, got 5"),
        ("sample", {"temperature": -0.5}, 1, "temperature above 0, got -0.5"),
        ("sample", {"top_p": 2.0}, 1, "top_p above 0 and at most 1, got 2.0"),
        ("sample", {}, 0, "num_return_sequences of at least 1, got 0"),
        ("greedy", {}, 2, "generates one text for each source, got num_return_sequences=2"),
    ],
)
def test_what_makes_no_sense_is_refused(
    name: str,
    options: dict[str, object],
    num_return_sequences: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(ValueError, match=said):
        Strategy(name, options, num_return_sequences)


def test_none_is_the_default() -> None:
    Strategy("greedy", {"beam_size": None, "generator": None})
    assert Strategy("beam", {"beam_size": None}).rows == 4
    assert Strategy("sample", {"top_p": None}, 3).rows == 3


def test_seeds_follow_from_the_generator_and_the_place() -> None:
    def seeds(sources: int, state: int) -> list[list[int]]:
        generator = torch.Generator().manual_seed(state)
        return Strategy("sample", {"generator": generator}, 2).seeds(sources)

    assert seeds(5, 1) == seeds(5, 1)
    assert seeds(5, 1)[:3] == seeds(3, 1)
    assert seeds(5, 1) != seeds(5, 2)
    assert len({seed for row in seeds(50, 1) for seed in row}) == 100
    torch.manual_seed(4)
    one = Strategy("sample", {}).seeds(2)
    torch.manual_seed(4)
    assert Strategy("sample", {}).seeds(2) == one


def test_only_sampling_draws() -> None:
    state = torch.get_rng_state()
    for name in ("greedy", "beam"):
        assert Strategy(name, {}).seeds(2) == [[], []]
    assert torch.equal(torch.get_rng_state(), state)
