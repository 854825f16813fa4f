"""`AttentionSeq2Seq` is the textbook's decoder step, all at once or in a loop."""

from __future__ import annotations

import math

import jaxtyping
import pytest
import torch
from torch import Tensor

import seqlearn as sl
from seqlearn.batch import SequenceBatch, length_mask, pad
from seqlearn.nn import gru_step, lstm_step, rnn_step

SPEC = sl.SequenceSpec(sl.TextSpec(11, 8), sl.TextSpec(9, 8))
CLASSES = sl.SequenceSpec(sl.TextSpec(11, 8), sl.ClassesSpec(("a", "b", "c")))
CELLS, SCORES = ("rnn", "gru", "lstm"), ("dot", "general", "additive", "scaled_dot")
WIDTH = 4
EXACT = {"atol": 1e-12, "rtol": 1e-12}
SOURCES = [[4, 5, 6], [7], []]
TARGETS = [[4, 5, 6, 7, 8], [], [8, 8]]
BATCH = SequenceBatch(*pad(SOURCES), *pad([[2, *ids, 3] for ids in TARGETS]))


def model_of(spec: sl.SequenceSpec = SPEC, **options: object) -> sl.AttentionSeq2Seq:
    model = sl.AttentionSeq2Seq(spec, **{"d_model": WIDTH, **options}).eval().double()
    for parameter in model.parameters():  # biases too, so that nothing passes by luck
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def cell_step(layer: sl.nn.FusedLayer, x: Tensor, state: tuple[Tensor, ...]) -> tuple:
    kernel = layer.kernel
    from_input = kernel.weight_ih_l0 @ x + kernel.bias_ih_l0
    from_state = kernel.weight_hh_l0 @ state[0] + kernel.bias_hh_l0
    if isinstance(layer, sl.nn.RNNLayer):
        return tuple(rnn_step(from_input, from_state))
    if isinstance(layer, sl.nn.GRULayer):
        return (gru_step(from_input, from_state, state[0]).hidden,)
    return tuple(lstm_step(from_input, from_state, state[1])[:2])


def textbook(model: sl.AttentionSeq2Seq, memory: sl.Memory, row: int, ids: list[int]) -> Tensor:
    """One sentence, one step after another: cell, score, softmax, sum, concatenate, answer."""
    decoder = model.decoder
    attention, feedforward = (
        decoder.attentional_hidden.attention,
        decoder.attentional_hidden.feedforward,
    )
    real = memory.states[row][memory.mask[row]]
    parts = 2 if model.hparams.cell == "lstm" else 1
    first = (
        decoder.recurrence.context_to_state.weight @ memory.pooled[row]
        + decoder.recurrence.context_to_state.bias
    )
    begin = first.view(model.hparams.num_layers, parts, WIDTH)
    states = [(layer[0].tanh(), *layer[1:]) for layer in begin]
    answer, answers = torch.zeros(WIDTH).double(), []
    for token in ids:
        x = model.target_embedding.weight[token] * math.sqrt(WIDTH)
        if model.hparams.input_feeding:
            x = torch.cat([x, answer])
        for number, layer in enumerate(decoder.recurrence.layers):
            states[number] = cell_step(layer, x, states[number])
            x = states[number][0]
        context = torch.zeros(WIDTH).double()
        if len(real):
            scores = torch.stack(
                [
                    attention.scores(x[None, None], attention.project_keys(h[None, None]))
                    for h in real
                ]
            )
            context = (scores.flatten().softmax(0)[:, None] * real).sum(0)
        answer = torch.tanh(feedforward.weight @ torch.cat([context, x]) + feedforward.bias)
        answers.append(answer)
    return torch.stack(answers)


@pytest.mark.parametrize("input_feeding", [False, True], ids=["at once", "input feeding"])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("cell", CELLS)
def test_equals_the_textbook_step_by_step(cell: str, score: str, input_feeding: bool) -> None:
    layers = 1 + (score == "general")
    model = model_of(cell=cell, score=score, input_feeding=input_feeding, num_layers=layers)
    tokens = BATCH.target[:, :-1]
    with torch.no_grad():
        memory = model.encode(BATCH.source, BATCH.source_lengths)
        answers, _ = model.decode(tokens, memory)
        for row in range(3):
            expected = textbook(model, memory, row, tokens[row].tolist())
            torch.testing.assert_close(answers[row], expected, **EXACT)


@pytest.mark.parametrize("input_feeding", [False, True], ids=["at once", "input feeding"])
def test_one_token_at_a_time(input_feeding: bool) -> None:
    model = model_of(input_feeding=input_feeding)
    with torch.no_grad():
        memory = model.encode(BATCH.source, BATCH.source_lengths)
        whole, last = model.decode(BATCH.target, memory)
        parts, state = [], None
        for token in BATCH.target.split(1, dim=1):
            part, state = model.decode(token, memory, state)
            parts.append(part)
        none, _ = model.decode(BATCH.target[:, :0], memory)
    torch.testing.assert_close(torch.cat(parts, 1), whole, **EXACT)
    torch.testing.assert_close(state.layers, last.layers, **EXACT)
    torch.testing.assert_close(state.hidden, last.hidden, **EXACT)
    assert none.shape == (3, 0, WIDTH)


@pytest.mark.parametrize("input_feeding", [False, True], ids=["at once", "input feeding"])
def test_recording_captures_the_weights_and_changes_no_bit(input_feeding: bool) -> None:
    model = model_of(input_feeding=input_feeding)
    with torch.no_grad():
        alone = model(BATCH)
        with sl.record(model) as recording:
            recorded = model(BATCH)
    assert torch.equal(recorded, alone)
    assert list(recording.attention) == ["decoder.attentional_hidden.attention"]
    weights = recording.attention["decoder.attentional_hidden.attention"]
    assert weights.shape == (3, 1, BATCH.target.shape[1] - 1, 3)  # batch heads query key
    seen = length_mask(BATCH.source_lengths, 3)[:, None, None].expand_as(weights)
    assert (weights[~seen] == 0).all()
    torch.testing.assert_close(weights.sum(-1), seen.any(-1).double(), **EXACT)


@pytest.mark.parametrize("input_feeding", [False, True], ids=["at once", "input feeding"])
def test_recording_a_generation(input_feeding: bool) -> None:
    model = model_of(input_feeding=input_feeding).float()
    sources = [[4, 5, 6], [7], [8, 9]]
    alone = model.generate(sources, max_new_tokens=4)
    with sl.record(model) as recording:
        assert model.generate(sources, max_new_tokens=4) == alone
    weights = recording.attention["decoder.attentional_hidden.attention"]
    assert len(weights) == 3
    with sl.record(model) as at_once:
        for source, answer in zip(sources, alone, strict=True):
            memory = model.encode(*pad([source]))
            model.decode(torch.tensor([[2, *answer]]), memory)
    expected = at_once.attention["decoder.attentional_hidden.attention"]
    for row, answer in enumerate(alone):
        steps = min(len(answer) + 1, 4)
        torch.testing.assert_close(
            weights[row, :, :steps], expected[row, :, :steps], atol=1e-6, rtol=1e-5
        )


def test_a_class_is_predicted_from_one_attention_pooling() -> None:
    model = model_of(CLASSES, score="additive")
    with torch.no_grad(), sl.record(model) as recording:
        model.classify(SOURCES)
    with torch.no_grad():
        memory = model.encode(*pad(SOURCES))
    weights = recording.attention["encoder.attentional_hidden.attention"]
    assert weights.shape == (3, 1, 1, 3)
    attentional_hidden = model.encoder.attentional_hidden
    with torch.no_grad():
        before = model.encoder.recurrence(
            model.source_embedding(pad(SOURCES)[0]), length_mask(torch.tensor([3, 1, 0]), 3)
        )
        for row in range(2):
            real = before.states[row, : len(SOURCES[row])]
            query = before.pooled[row]
            attention = attentional_hidden.attention
            scores = (attention.query(query) + attention.key(real)).tanh() @ attention.v
            context = scores.softmax(0) @ real
            expected = attentional_hidden.feedforward(torch.cat([context, query])).tanh()
            torch.testing.assert_close(memory.pooled[row], expected, **EXACT)
    assert (memory.pooled[2] == 0).all()
    assert (weights[2] == 0).all()


@pytest.mark.parametrize("input_feeding", [False, True], ids=["at once", "input feeding"])
def test_it_overfits_a_small_batch(input_feeding: bool) -> None:
    model = sl.AttentionSeq2Seq(
        SPEC, cell="gru", d_model=16, dropout=0.0, input_feeding=input_feeding
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        model.compute_loss(BATCH).loss.backward()
        optimizer.step()
    assert model.generate(SOURCES) == TARGETS


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("score", SCORES)
def test_it_generates_with_every_cell_and_score(cell: str, score: str) -> None:
    model = model_of(cell=cell, score=score, input_feeding=cell == "gru").float()
    answers = model.generate([[4, 5], [], [6]], max_new_tokens=3)
    assert answers == [
        model.generate([source], max_new_tokens=3)[0] for source in ([4, 5], [], [6])
    ]
    vectors = sl.SequenceSpec(sl.VectorSpec(2), sl.TextSpec(9, 8))
    assert len(model_of(vectors, cell=cell, score=score).float().generate([[0.5, 1.0]])) == 1


def test_a_language_model_is_refused() -> None:
    with pytest.raises(ValueError, match="use RNN, GRU, LSTM, FeedForward or Transformer"):
        sl.AttentionSeq2Seq(sl.SequenceSpec(None, sl.TextSpec(9, 8)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "sru"}, "expected cell 'rnn', 'gru' or 'lstm', got 'sru'"),
        ({"score": "concat"}, "'additive' or 'scaled_dot', got 'concat'"),
        ({"num_layers": 0}, "expected num_layers of at least 1, got 0"),
        ({"d_model": 5}, "expected an even width, got 5"),
        ({"dropout": -0.1}, "dropout of at least 0"),
    ],
)
def test_bad_arguments(
    options: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(ValueError, match=message):
        sl.AttentionSeq2Seq(SPEC, **options)
