"""Beam search of every architecture, with its caches, equals one without; so does a recording."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from slow_beam_search import slow_beam_search
from torch import Tensor, nn

import seqlearn as sl
from seqlearn.batch import START
from seqlearn.decoding import LogitsProcessor, MinNewTokens, NoRepeatNGram, RepetitionPenalty
from seqlearn.nn import attend_by_source, shares_memory

SPEC = sl.SequenceSpec(sl.TextSpec(12, 8), sl.TextSpec(11, 8))
LARGE = sl.SequenceSpec(sl.TextSpec(12, 8), sl.TextSpec(1300, 8))
LANGUAGE = sl.SequenceSpec(None, sl.TextSpec(11, 8))
SOURCES = [[4, 5, 6, 7, 8], [9, 10], [], [7], [5, 5, 6]]
SIZES: dict[str, Any] = {"d_model": 8, "num_layers": 2}
HEADS: dict[str, Any] = {**SIZES, "num_heads": 2, "d_feedforward": 16}


class Averages(nn.Module):
    """A decoder that knows nothing of beams: its state is a tensor of rows, its memory too."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = nn.Linear(16, 8)

    def forward(self, inputs: Tensor, memory: Any, state: Any = None) -> tuple[Tensor, Any]:
        assert len(memory.mask) == len(memory.states) == len(inputs)
        total, count = (torch.zeros_like(inputs[:, 0]), 0) if state is None else state
        sums = total[:, None] + inputs.cumsum(1)
        counts = torch.arange(count + 1, count + 1 + inputs.shape[1])
        averages = sums / counts[:, None] + inputs
        weights = (averages @ memory.states.mT).masked_fill(~memory.mask[:, None], -1e9)
        context = weights.softmax(-1) @ memory.states
        outputs = 3 * self.outer(torch.cat([averages, context], -1))
        return outputs, (sums[:, -1], count + inputs.shape[1])


class OneOfMyOwn(sl.SequenceModule):
    def __init__(self, spec: sl.SequenceSpec, **base: Any) -> None:
        super().__init__(spec, d_model=8, **base)
        self.encoder = sl.LSTM(spec, d_model=8).encoder
        self.decoder = Averages()


class OwnDecode(sl.Transformer):
    """Overrides `decode`, and so gets a memory with a row for each beam."""

    def decode(self, tokens: Tensor, memory: Any, state: Any = None) -> tuple[Tensor, Any]:
        hidden, state = super().decode(tokens, memory, state)
        return hidden + memory.pooled[:, None], state


MODELS: dict[str, Callable[[], sl.SequenceModule]] = {
    "post": lambda: sl.Transformer(SPEC, **HEADS),
    "pre, rotary": lambda: sl.Transformer(SPEC, **HEADS, norm="pre", positions="rotary"),
    "learned": lambda: sl.Transformer(SPEC, **HEADS, positions="learned"),
    "large vocabulary": lambda: sl.Transformer(LARGE, **HEADS),
    "attention": lambda: sl.AttentionSeq2Seq(SPEC, **SIZES),
    "input feeding": lambda: sl.AttentionSeq2Seq(
        SPEC, d_model=8, cell="gru", score="additive", input_feeding=True
    ),
    "lstm": lambda: sl.LSTM(SPEC, **SIZES),
    "window": lambda: sl.FeedForward(SPEC, d_model=8, window=6),
    "of my own": lambda: OneOfMyOwn(SPEC),
    "own decode": lambda: OwnDecode(SPEC, **HEADS),
}
SIMPLE = {"window", "of my own", "own decode"}
"""Models that get a memory with one row for each beam."""


def drawn(name: str, seed: int) -> sl.SequenceModule:
    """A model whose outputs are far from uniform, so that beams differ and end."""
    torch.manual_seed(seed)
    model = (MODELS | {"language": lambda: sl.Transformer(LANGUAGE, **HEADS)})[name]().eval()
    with torch.no_grad():
        model.head.weight.normal_(std=0.7)
        model.head.bias.normal_(std=0.3)
        model.target_embedding.weight.normal_()
    return model


def check(model: sl.SequenceModule, prompts: list[list[int]] | None, **options: Any) -> None:
    beam_size, limit = options["beam_size"], options["max_new_tokens"]
    count = min(beam_size, 3)
    sources = None if model.spec.source is None else SOURCES
    asked: dict[str, Any] = {} if prompts is None else {"prompts": prompts}
    found = model.generate(sources, strategy="beam", num_return_sequences=count, **asked, **options)
    for number, texts in enumerate(found if count > 1 else [[text] for text in found]):
        prompt = [] if prompts is None else prompts[number]
        processors: list[LogitsProcessor] = []
        if penalty := options.get("repetition_penalty"):
            processors.append(RepetitionPenalty(penalty))
        if size := options.get("no_repeat_ngram_size"):
            processors.append(NoRepeatNGram(size))
        if least := options.get("min_new_tokens"):
            processors.append(MinNewTokens(least, 1 + len(prompt)))
        expected = slow_beam_search(
            model,
            None if sources is None else sources[number],
            prompt,
            beam_size,
            limit,
            length_penalty=options.get("length_penalty", 1.0),
            early_stopping=options.get("early_stopping", False),
            processors=tuple(processors),
        )
        assert len(expected) >= min(count, 2)
        truth = [[*prompt, *text.ids] for text in expected[:count]]
        if texts != truth:  # rounding may exchange texts whose scores are equal up to it
            gaps = [a.score - b.score for a, b in itertools.pairwise(expected)]
            assert min(gaps) < 1e-5, (texts, truth)


@pytest.mark.parametrize("name", MODELS)
def test_it_finds_what_a_search_without_cache_finds(name: str) -> None:
    model = drawn(name, seed=1)
    assert shares_memory(model, "decode") == (name not in SIMPLE)
    check(model, None, beam_size=4, max_new_tokens=9)
    check(model, None, beam_size=3, max_new_tokens=12, early_stopping="never", length_penalty=1.5)


@pytest.mark.parametrize("name", ["post", "of my own"])
def test_with_prompts_and_processors(name: str) -> None:
    model = drawn(name, seed=2)
    prompts = [[4, 5], [6], [4, 5], [], [7, 8]]
    check(model, prompts, beam_size=3, max_new_tokens=7)
    processed = {"no_repeat_ngram_size": 2, "min_new_tokens": 3, "repetition_penalty": 1.3}
    check(model, prompts, beam_size=4, max_new_tokens=8, **processed)


@pytest.mark.parametrize("name", ["post", "attention"])
@pytest.mark.parametrize("beam_size", [1, 13])
def test_beams_of_one_and_beams_wider_than_the_vocabulary(name: str, beam_size: int) -> None:
    check(drawn(name, seed=3), None, beam_size=beam_size, max_new_tokens=4, early_stopping=True)


def test_a_language_model() -> None:
    model = drawn("language", seed=4)
    check(model, [[4, 5, 6], [7], [8, 9]], beam_size=4, max_new_tokens=12)


@pytest.mark.parametrize("name", ["pre, rotary", "input feeding", "of my own"])
def test_a_recording_of_a_beam_search_is_that_of_its_text(name: str) -> None:
    """Attention and states by row, though beams are the queries of one attention."""
    model = drawn(name, seed=5)
    with sl.record(model) as recording:
        texts = model.generate(SOURCES, strategy="beam", beam_size=4, max_new_tokens=12)
    assert texts == model.generate(SOURCES, strategy="beam", beam_size=4, max_new_tokens=12)
    for number, (source, text) in enumerate(zip(SOURCES, texts, strict=True)):
        inputs = torch.tensor([[START, *text]])[:, :12]
        with sl.record(model) as forward, torch.no_grad():
            memory = model.encode(torch.tensor([source or [0]]), torch.tensor([len(source)]))
            model.decode(inputs, memory)
        time = inputs.shape[1]
        for module, weights in forward.attention.items():
            mine = recording.attention[module][number]
            if module.startswith("decoder"):
                torch.testing.assert_close(mine[:, :time, : weights.shape[-1]], weights[0])
        for module, states in forward.states.items():
            if module.startswith("decoder"):
                torch.testing.assert_close(recording.states[module][number, :time], states[0])


@pytest.mark.parametrize("name", ["post", "attention"])
def test_the_memory_is_not_copied_for_each_beam(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = drawn(name, seed=6)
    rows: list[tuple[int, int, int]] = []
    module = sl.nn.MultiHeadAttention if name == "post" else sl.nn.LuongAttention
    method = "cross_attention" if name == "post" else "forward"
    attention = getattr(module, method)

    def counted(self: Any, query: Tensor, key: Any, *rest: Any, **named: Any) -> Tensor:
        keys = key if isinstance(key, Tensor) else key.key
        rows.append((len(query), query.shape[1], len(keys)))
        return attention(self, query, key, *rest, **named)

    monkeypatch.setattr(module, method, counted)
    model.generate(SOURCES, strategy="beam", beam_size=5, max_new_tokens=6)
    assert {queries for _, queries, _ in rows} == {1, 5}
    assert all(len_query == len_keys <= len(SOURCES) for len_query, _, len_keys in rows)


def test_keys_of_the_memory_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as no source leaves."""
    model, places = drawn("post", seed=7), []
    attention = sl.nn.MultiHeadAttention.cross_attention

    def placed(self: Any, inputs: Tensor, memory: Any, mask: Tensor) -> Tensor:
        places.append((id(self), memory.key.data_ptr(), memory.value.data_ptr()))
        return attention(self, inputs, memory, mask)

    monkeypatch.setattr(sl.nn.MultiHeadAttention, "cross_attention", placed)
    model.generate(SOURCES, strategy="beam", beam_size=5, min_new_tokens=6, max_new_tokens=6)
    assert len(places) == 12
    assert len(set(places)) == 2


def test_rows_that_do_not_fit_the_memory_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"for each of the 2 sources of the memory, got 5 rows"):
        attend_by_source(lambda queries: queries, torch.zeros(5, 1, 4), 2)
