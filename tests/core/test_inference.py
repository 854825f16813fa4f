"""Raw sources in, answers, scores and classes out: the interface of every module."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.core import generation
from seqlearn.core.generation import batches
from seqlearn.decoding import BeamSearch, NextToken
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

TEXT = sl.SequenceSpec(sl.TextSpec(11, 6), sl.TextSpec(9, 6))
CLASSES = sl.SequenceSpec(sl.TextSpec(11, 6), sl.ClassesSpec(("a", "b", "c")))
SOURCES = [[4, 5, 6, 7], [8], [], [9, 10, 4], [5, 5], [8, 4, 8, 4, 8]]
TARGETS = [[5], [4, 4, 6], [], [7, 8, 5, 5], [6, 6], [4]]
BEAM = {"strategy": "beam", "beam_size": 3}


def transformer(spec: sl.SequenceSpec = TEXT) -> sl.Transformer:
    torch.manual_seed(1)
    model = sl.Transformer(spec, d_model=8, num_layers=1, num_heads=2)
    model.head.weight.data *= 3  # answers of unequal lengths
    return model


def sample(model: sl.SequenceModule, seed: int = 0, **options: object) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return model.generate(SOURCES, strategy="sample", generator=generator, **options)


# Scores


def test_score_is_the_loss_of_a_sentence() -> None:
    model = transformer().eval()
    scores = model.score(SOURCES, TARGETS)
    assert scores.shape == (6,)
    for source, target, score in zip(SOURCES, TARGETS, scores, strict=True):
        batch = SequenceBatch(*pad([source]), *pad([[2, *target, 3]]))
        logits = model(batch)[0].log_softmax(-1)
        expected = logits[range(len(target) + 1), [*target, 3]].sum()
        torch.testing.assert_close(score, expected.detach())
    batch = SequenceBatch(*pad(SOURCES), *pad([[2, *target, 3] for target in TARGETS]))
    torch.testing.assert_close(-scores.sum(), model.compute_loss(batch).loss.detach())


def test_scores_come_in_the_order_given_whatever_the_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = transformer()
    expected = model.score(SOURCES, TARGETS)
    monkeypatch.setattr(generation, "MAX_BATCH_ROWS", 2)
    torch.testing.assert_close(model.score(SOURCES, TARGETS), expected)
    model.max_batch_tokens = 1
    torch.testing.assert_close(model.score(SOURCES[::-1], TARGETS[::-1]), expected.flip(0))


def test_score_of_a_language_model_and_of_a_vector_source() -> None:
    language = transformer(sl.SequenceSpec(None, sl.TextSpec(9, 6)))
    (one, two) = language.score(None, [[5, 6], []])
    assert one < two < 0
    vector = transformer(sl.SequenceSpec(sl.VectorSpec(2), sl.TextSpec(9, 6)))
    assert vector.score([[0.0, 1.0], [2.0, 3.0]], [[5], [5]]).unique().numel() == 2


def test_scores_of_all_texts_sum_to_one() -> None:
    """Over all that end within two tokens, and the mass that goes on after them."""
    language = transformer(sl.SequenceSpec(None, sl.TextSpec(6, 4, unk_in_training=True))).eval()
    reserved, texts = [0, 2], [[], [1], [4], [5]]
    mass = language.score(None, texts).exp().sum().item()
    with torch.no_grad():
        p = language.head(language.decode(torch.tensor([[2]]), None)[0])[0, 0].softmax(-1)
        mass += p[reserved].sum().item()
        for first in (1, 4, 5):
            hidden, _ = language.decode(torch.tensor([[2, first]]), None)
            mass += (p[first] * (1 - language.head(hidden)[0, 1].softmax(-1)[3])).item()
    assert mass == pytest.approx(1.0, abs=1e-5)


def test_bad_targets_are_refused() -> None:
    model = transformer()
    with pytest.raises(ValueError, match="expected 2 targets, one per source, got 1"):
        model.score([[4], [5]], [[4]])
    with pytest.raises(ValueError, match=r"target 2: .* without padding \(0\), start \(2\)"):
        model.score([[4], [5]], [[4], [2, 5, 3]])
    with pytest.raises(ValueError, match="target 1: expected ids from 0 to 8, got 9"):
        model.score([[4]], [[9]])
    with pytest.raises(TypeError, match=r"list of targets, got one string; pass \['abc'\]"):
        model.score([[4]], "abc")
    with pytest.raises(ValueError, match="expected a list of sources, got none"):
        model.score(None, [[4]])


# Classes


def test_classify_is_the_softmax_of_the_forward_call() -> None:
    model = transformer(CLASSES).train()
    labels, probabilities = model.classify(SOURCES)
    assert model.training
    model.eval()
    logits = model(SequenceBatch(*pad(SOURCES), torch.zeros(6, dtype=torch.long), None))
    torch.testing.assert_close(probabilities, logits.softmax(-1).detach())
    assert labels == ["abc"[i] for i in logits.argmax(-1)]
    assert model.classify([])[0] == []
    assert model.classify([])[1].shape == (0, 3)


@pytest.mark.parametrize(
    ("target", "method"),
    [
        (sl.ClassesSpec(("a", "b")), "classify"),
        (sl.MultiLabelSpec(("a", "b")), "classify"),
        (sl.TagsSpec(("a", "b")), "tag"),
        (sl.VectorSpec(2), "predict"),
    ],
)
def test_outputs_that_are_no_numbers_are_an_error(target: Any, method: str) -> None:
    """A label that is chosen among them would be arbitrary; -∞ rules a class out."""
    model = sl.GRU(sl.SequenceSpec(sl.TextSpec(9, 4), target), d_model=4).eval()
    predict = getattr(model, method)
    with torch.no_grad():
        model.head.bias[0] = -math.inf
        if method == "predict":
            with pytest.raises(ValueError, match="outputs for source 1 of 2 are NaN or infinite"):
                predict([[4], [5, 6]])
            model.head.bias[0] = 0.0
        assert len(predict([[4], [5, 6]])) == 2
        if method == "tag":
            model.head.bias[1] = -math.inf
            with pytest.raises(ValueError, match="outputs for source 1 of 2 are NaN or infinite"):
                predict([[4], [5, 6]])
            model.head.bias[1] = 0.0
        model.source_embedding.weight[5] = math.nan
    with pytest.raises(ValueError, match=r"outputs for source 2 of 2 are NaN or infinite; use a"):
        predict([[4], [5, 6]])
    assert predict([[4]])


def test_a_target_of_another_kind_is_refused_by_what_works() -> None:
    vectors = transformer(sl.SequenceSpec(sl.TextSpec(11, 6), sl.VectorSpec(2)))
    with pytest.raises(ValueError, match=r"classes, .* TextSpec; use generate or score"):
        transformer().classify([[4]])
    with pytest.raises(ValueError, match=r"classes, .* VectorSpec; use predict\(sources\)"):
        vectors.classify([[4]])
    for method in ("generate", "score"):
        arguments = ([[4]],) if method == "generate" else ([[4]], [[4]])
        with pytest.raises(ValueError, match=f"{method} .* texts, .* ClassesSpec; use classify"):
            getattr(transformer(CLASSES), method)(*arguments)
        with pytest.raises(ValueError, match=f"{method} .* VectorSpec; use predict\\(sources\\)"):
            getattr(vectors, method)(*arguments)


# Answers


def test_what_comes_back() -> None:
    model = transformer()
    one = model.generate(SOURCES, **BEAM, max_new_tokens=5)
    more = model.generate(SOURCES, **BEAM, max_new_tokens=5, num_return_sequences=2)
    assert [answers[0] for answers in more] == one
    assert all(len(answers) == 2 and answers[0] != answers[1] for answers in more)
    texts, scores = model.generate(SOURCES, **BEAM, max_new_tokens=5, return_scores=True)
    assert texts == one
    assert scores.shape == (6,)
    texts, scores = model.generate(
        SOURCES,
        **BEAM,
        max_new_tokens=5,
        num_return_sequences=2,
        return_scores=True,
        length_penalty=0.0,
    )
    assert scores.shape == (6, 2)
    texts, scores = model.generate([], **BEAM, num_return_sequences=2, return_scores=True)
    assert texts == []
    assert scores.shape == (0, 2)


def test_a_missing_text_has_no_probability() -> None:
    model = transformer(sl.SequenceSpec(sl.TextSpec(11, 6), sl.TextSpec(5, 6)))
    options = {"strategy": "beam", "beam_size": 5, "num_return_sequences": 5, "return_scores": True}
    texts, scores = model.generate([[4], [5, 6]], **options, max_new_tokens=1)
    assert all(sorted(answers) == [[], [4]] for answers in texts)
    assert scores[:, :2].isfinite().all()
    assert (scores[:, 2:] == -math.inf).all()


@pytest.mark.parametrize(
    "options", [{}, BEAM, BEAM | {"num_return_sequences": 3}, {"strategy": "sample", "top_k": 1}]
)
def test_prompts_of_unequal_lengths(options: dict[str, object]) -> None:
    """Each as if alone; answers hold their prompts."""
    model = transformer()
    prompts = [[5, 6], [], [7], [4, 4, 4], [8, 8], []]
    together = model.generate(SOURCES, prompts=prompts, **options, max_new_tokens=4)
    for source, prompt, answer in zip(SOURCES, prompts, together, strict=True):
        assert model.generate([source], prompts=[prompt], **options, max_new_tokens=4) == [answer]
        for ids in answer if "num_return_sequences" in options else [answer]:
            assert ids[: len(prompt)] == prompt
            assert len(ids) <= len(prompt) + 4
    assert together[1] == model.generate(SOURCES[1:2], **options, max_new_tokens=4)[0]


def test_sampling_repeats_with_the_state_of_its_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    model = transformer()
    answers = sample(model, max_new_tokens=6, num_return_sequences=2)
    assert sample(model, max_new_tokens=6, num_return_sequences=2) == answers
    assert sample(model, seed=1, max_new_tokens=6, num_return_sequences=2) != answers
    monkeypatch.setattr(generation, "MAX_BATCH_ROWS", 1)
    assert sample(model, max_new_tokens=6, num_return_sequences=2) == answers
    torch.manual_seed(5)
    drawn = model.generate(SOURCES, strategy="sample")
    torch.manual_seed(5)
    assert model.generate(SOURCES, strategy="sample") == drawn


def test_a_language_model_without_prompts_gives_one_text() -> None:
    language = transformer(sl.SequenceSpec(None, sl.TextSpec(9, 6)))
    assert len(language.generate(max_new_tokens=4)) == 1
    assert len(language.generate(**BEAM, num_return_sequences=3, max_new_tokens=4)[0]) == 3
    assert (
        len(language.generate(strategy="sample", num_return_sequences=7, max_new_tokens=4)[0]) == 7
    )
    with pytest.raises(TypeError, match=r"list of prompts, got one string; pass \['ab'\]"):
        language.generate(prompts="ab")


def test_bad_options_are_refused_before_anything_is_read() -> None:
    model = transformer()
    with pytest.raises(ValueError, match="'greedy' does not use beam_size"):
        model.generate([], beam_size=3)
    with pytest.raises(ValueError, match="max_new_tokens of at least 1, or None, got 0"):
        model.generate([], max_new_tokens=0)
    with pytest.raises(ValueError, match=r"top_p above 0 and at most 1, or None, got 1\.5"):
        model.generate([], strategy="sample", top_p=1.5)


# Padding, reserved ids and the unknown symbol


def test_a_padded_batch_is_refused_and_its_rows_are_read() -> None:
    model = transformer()
    batch = SequenceBatch(*pad(SOURCES), *pad([[2, *target, 3] for target in TARGETS]))
    rows = zip(batch.source, batch.source_lengths, strict=True)
    assert model.generate([row[:length] for row, length in rows]) == model.generate(SOURCES)
    assert model.generate_batch(batch) == model.generate(SOURCES)
    with pytest.raises(ValueError, match=r"source 1: .* padding .* use trainer\.predict"):
        model.generate(batch.source)
    with pytest.raises(ValueError, match=r"source 1: .* without padding"):
        model.score(batch.source, TARGETS)
    with pytest.raises(ValueError, match=r"source 1: .* without padding"):
        transformer(CLASSES).classify(batch.source)
    with pytest.raises(ValueError, match=r"target 1: .* row\[1:length - 1\]"):
        model.score(SOURCES, batch.target)
    with pytest.raises(ValueError, match=r"prompt 1: .* without padding"):
        model.generate(SOURCES, prompts=batch.target)
    for method in (model.generate, model.score, transformer(CLASSES).classify):
        with pytest.raises(
            TypeError, match=r"list of sources, got SequenceBatch; use model\.gener"
        ):
            method(batch, *([TARGETS] if method == model.score else []))


@pytest.mark.parametrize("bad", [[[5.0]], [None], [b"a"], [[[5]]], [5], torch.tensor([[5.5]])])
def test_what_is_no_text_is_refused_everywhere(bad: object) -> None:
    model, language = transformer(), transformer(sl.SequenceSpec(None, sl.TextSpec(9, 6)))
    wanted = "1: expected a text or a list of ids"
    with pytest.raises(TypeError, match=f"source {wanted}"):
        model.generate(bad)
    with pytest.raises(TypeError, match=f"prompt {wanted}"):
        model.generate([[4]], prompts=bad)
    with pytest.raises(TypeError, match=f"prompt {wanted}"):
        language.generate(prompts=bad)
    with pytest.raises(TypeError, match=f"target {wanted}"):
        model.score([[4]], bad)
    with pytest.raises(TypeError, match=f"target {wanted}"):
        language.score(targets=bad)
    with pytest.raises(TypeError, match=f"source {wanted}"):
        transformer(CLASSES).classify(bad)


def test_a_vector_source_is_checked() -> None:
    model = transformer(sl.SequenceSpec(sl.VectorSpec(2), sl.TextSpec(9, 6)))
    with pytest.raises(
        ValueError, match="source 1: expected finite numbers, got inf at position 2"
    ):
        model.generate([[0.0, math.inf]])
    with pytest.raises(TypeError, match="source 2: expected 2 numbers, got 'ab'"):
        model.score([[0, 1], "ab"], [[4], [4]])


def test_missing_targets_are_an_error() -> None:
    language = transformer(sl.SequenceSpec(None, sl.TextSpec(9, 6)))
    assert torch.equal(language.score(targets=[[5, 6], []]), language.score(None, [[5, 6], []]))
    with pytest.raises(ValueError, match=r"no source; .* score\(targets=…\)"):
        language.score(["ab"], [[5]])
    with pytest.raises(ValueError, match=r"got none; pass score\(targets=\[…\]\)"):
        language.score()
    with pytest.raises(ValueError, match=r"got none; pass score\(sources, targets\)"):
        transformer().score([[4]])


WRITERS = [{}, BEAM, {"strategy": "sample"}, {"strategy": "sample", "top_k": 2}]


@pytest.mark.parametrize("options", WRITERS)
def test_unknown_is_written_only_where_training_saw_it(options: dict[str, object]) -> None:
    for seen in (False, True):
        model = transformer(sl.SequenceSpec(TEXT.source, sl.TextSpec(9, 6, unk_in_training=seen)))
        with torch.no_grad():
            model.head.bias[1] += 50
        for answer in model.generate(SOURCES, **options, max_new_tokens=3):
            assert answer == [1, 1, 1] if seen else 1 not in answer


def test_an_unknown_symbol_is_marked_and_said() -> None:
    model = transformer()
    with pytest.warns(UnknownSymbolWarning, match="in 1 of 2 sources: source 2: the id 1"):
        marked = model.generate([[4, 5], [4, 1]])
    batch = SequenceBatch(*pad([[4, 5], [4, 1]]), *pad([[2, 3], [2, 3]]))
    assert model.predict_step(batch, 0) == marked
    with pytest.warns(UnknownSymbolWarning, match="in 1 of 1 targets"):
        score = model.score([[4]], [[1]])
    assert score.isfinite().all()
    with pytest.warns(UnknownSymbolWarning, match="in 1 of 1 sources"):
        transformer(CLASSES).classify([[1]])


def test_an_overridden_method_is_used_everywhere() -> None:
    class Own(sl.GRU):
        def generate(self, sources: object = None, **options: object) -> object:
            return ["mine" for _ in sources]

        def classify(self, sources: object) -> object:
            return ["c" for _ in sources], torch.ones(len(sources), 3)

    batch = SequenceBatch(*pad(SOURCES), *pad([[2, *target, 3] for target in TARGETS]))
    model = Own(TEXT, d_model=4)
    assert model.generate_batch(batch) == model.predict_step(batch, 0) == ["mine"] * 6
    classes = batch._replace(target=torch.zeros(6, dtype=torch.long), target_lengths=None)
    classifier = Own(CLASSES, d_model=4)
    assert classifier.predict_step(classes, 0) == classifier.predict(SOURCES) == ["c"] * 6
    assert model.predict(SOURCES) == ["mine"] * 6

    class Predicts(sl.GRU):
        def predict(self, sources: object) -> object:
            return ["predicted" for _ in sources]

    assert Predicts(TEXT, d_model=4).predict_step(batch, 0) == ["predicted"] * 6
    prose = Predicts(sl.SequenceSpec(None, TEXT.target), d_model=4)
    prompts = batch._replace(source=None, source_lengths=None)
    assert len(prose.predict_step(prompts, 0)) == 6, "a language model has no sources to predict"


VECTORS = sl.SequenceSpec(sl.TextSpec(11, 6), sl.VectorSpec(2))


@pytest.mark.parametrize("spec", [TEXT, CLASSES, VECTORS], ids=["text", "classes", "vector"])
def test_predict_returns_what_the_target_is_in_the_order_given(
    spec: sl.SequenceSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = transformer(spec).train()
    found = model.predict(SOURCES)
    assert model.training
    assert model.predict([]) == []
    if spec is TEXT:
        assert found == model.generate(SOURCES)
    elif spec is CLASSES:
        assert found == model.classify(SOURCES)[0]
    monkeypatch.setattr(generation, "MAX_BATCH_ROWS", 2)
    turned = model.predict(SOURCES[::-1])[::-1]
    if spec is not VECTORS:
        assert turned == found
        return
    torch.testing.assert_close(turned, found)
    labels = torch.zeros(6, 2)
    batch = SequenceBatch(*pad(SOURCES), labels, None)
    torch.testing.assert_close(model.predict_step(batch, 0), found)
    torch.testing.assert_close(list(model.eval()(batch).detach()), found)


def test_an_overridden_forward_is_used_by_classify_and_predict() -> None:
    class Last(sl.GRU):
        def forward(self, batch: SequenceBatch) -> torch.Tensor:
            return super().forward(batch) * 0 + torch.tensor([0.0, 0.0, 1.0])

    model = Last(CLASSES, d_model=4)
    assert model.classify(SOURCES)[0] == model.predict(SOURCES) == ["c"] * 6
    batch = SequenceBatch(*pad(SOURCES), torch.zeros(6, dtype=torch.long), None)
    assert model.predict_step(batch, 0) == ["c"] * 6


# Recording


@pytest.mark.parametrize("options", [BEAM | {"num_return_sequences": 2}, {"strategy": "sample"}])
def test_a_recording_follows_the_best_hypothesis(options: dict[str, object]) -> None:
    """It sees what a forward call over that answer's tokens sees, and scoring is not recorded."""
    model = transformer()
    torch.manual_seed(2)
    unwatched = model.generate(SOURCES, **options, max_new_tokens=5)
    torch.manual_seed(2)
    with sl.record(model) as recording:
        answers, _ = model.generate(SOURCES, **options, max_new_tokens=5, return_scores=True)
    assert answers == unwatched
    assert recording.source == [[str(i) for i in ids] for ids in SOURCES]
    best = [answer[0] for answer in answers] if "num_return_sequences" in options else answers
    for row, (ids, answer) in enumerate(zip(SOURCES, best, strict=True)):
        one = recording.select(row)
        fed = [2, *answer, 3][: len(one.tokens[0].decoder_input or []) + 1]
        with sl.record(model) as forward, torch.no_grad():
            model.eval()(SequenceBatch(*pad([ids]), *pad([fed])))
        assert list(forward.attention) == list(one.attention)
        for name, weights in forward.attention.items():
            # An empty source is one place of padding there, which `select` has cut off here.
            found = one.attention[name]
            expected = weights[..., : found.shape[-2], : found.shape[-1]]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=0.0)
    assert len({len(answer) for answer in best}) > 1


def test_what_a_beam_search_counts_itself_equals_score() -> None:
    """The sum along the way, through cached and reordered states, of answers that ended."""
    model = transformer().eval()

    def logits(tokens: torch.Tensor, memory: object, state: object) -> tuple[object, object]:
        hidden, state = model.decode(tokens, memory, state)
        return model.head(hidden[:, -1]), state

    with torch.no_grad():
        memory = model.encode(*pad(SOURCES))
    found = BeamSearch(4).search(NextToken(logits), torch.full((6, 1), 2), memory, max_new_tokens=6)
    pairs = zip(SOURCES, found, strict=True)
    ended = [(source, h) for source, hypotheses in pairs for h in hypotheses if h.finished]
    assert len({len(h.ids) for _, h in ended}) > 1
    scores = model.score([source for source, _ in ended], [h.ids for _, h in ended])
    torch.testing.assert_close(torch.tensor([h.log_probability for _, h in ended]), scores)


def test_a_batch_is_as_wide_as_its_longest_source() -> None:
    """A row with a short target may have the longest source of the batch."""
    lengths = [(3000, 1), *[(100, 20)] * 60]  # of source and target
    sources, targets = ([[4] * size for size in side] for side in zip(*lengths, strict=True))
    for rows in batches(sources, targets, 1, equal=False, max_tokens=10_000):
        widest = max(len(sources[row]) for row in rows) + max(len(targets[row]) for row in rows)
        assert len(rows) * widest <= 10_000
