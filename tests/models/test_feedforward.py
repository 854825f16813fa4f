"""`FeedForward` is Bengio et al. 2003 at each position, and sees nothing outside its window."""

from __future__ import annotations

import jaxtyping
import pytest
import torch
from torch import Tensor

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.models.feedforward import MLP

SPEC = sl.SequenceSpec(sl.TextSpec(11, 8), sl.TextSpec(9, 8))
LANGUAGE = sl.SequenceSpec(None, sl.TextSpec(9, 8))
CLASSES = sl.SequenceSpec(sl.TextSpec(11, 8), sl.ClassesSpec(("a", "b", "c")))
EXACT = {"atol": 1e-12, "rtol": 1e-12}


def model_of(spec: sl.SequenceSpec, **options: object) -> sl.FeedForward:
    model = sl.FeedForward(spec, **{"d_model": 4, **options}).eval().double()
    for parameter in model.parameters():  # biases too, so that nothing passes by luck
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def textbook(hidden: MLP, tokens: list[Tensor], window: int, *more: Tensor) -> Tensor:
    """`tanh(d + H x)`, again and again; x is the last `window` tokens one after the other."""
    zeros = torch.zeros(4).double()
    words = [*[zeros] * window, *tokens][-window:]
    x = torch.cat([*(2.0 * word for word in words), *more])  # 2 is √d_model
    for layer in hidden:
        if isinstance(layer, torch.nn.Linear):
            x = torch.tanh(layer.bias + layer.weight @ x)
    return x


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("window", [1, 3, 20])
@pytest.mark.parametrize("spec", [SPEC, LANGUAGE], ids=["translates", "language model"])
def test_each_position_is_the_textbook(spec: sl.SequenceSpec, window: int, num_layers: int) -> None:
    """Also where the window is one token, and where it is longer than the text."""
    model = model_of(spec, window=window, num_layers=num_layers, overflow="truncate")
    source = None if spec.source is None else pad([[4, 5, 6], [7], []])
    target = torch.tensor([[2, 4, 5, 6, 7, 8], [2, 8, 8, 8, 4, 3], [2, 3, 0, 0, 0, 0]])
    with torch.no_grad():
        memory = None
        if source is not None and window >= 3:
            memory = model.encode(*source)
        elif source is not None:
            with pytest.warns(UserWarning, match="the last 1 tokens"):
                memory = model.encode(*source)
        answers, _ = model.decode(target, memory)
        embedded = model.target_embedding(target)
    for row in range(3):
        pooled = () if memory is None else (memory.pooled[row],)
        for step in range(6):
            tokens = list(embedded[row, : step + 1])
            expected = textbook(model.decoder.hidden, tokens, window, *pooled)
            torch.testing.assert_close(answers[row, step], expected, **EXACT)


@pytest.mark.parametrize("more", [0, 3])
def test_the_encoder_is_the_textbook_over_the_last_tokens(more: int) -> None:
    """Of any length up to the window; padding beyond the window is no longer source."""
    model = model_of(CLASSES, window=4, num_layers=2)
    sources = [[4, 5, 6, 7], [8, 9], [4], []]
    ids, lengths = pad(sources)
    ids = torch.cat([ids, torch.full((4, more), 9)], 1)
    with torch.no_grad():
        memory = model.encode(ids, lengths)
        for row, source in enumerate(sources[:3]):
            tokens = list(model.source_embedding(torch.tensor(source)))
            expected = textbook(model.encoder.hidden, tokens, 4)
            torch.testing.assert_close(memory.pooled[row], expected, **EXACT)
    assert (memory.pooled[3] == 0).all()
    assert memory.mask.tolist() == [[True], [True], [True], [False]]
    assert torch.equal(memory.states[:, 0], memory.pooled)


def test_a_longer_source_is_refused_with_the_numbers() -> None:
    model = model_of(CLASSES, window=4)
    message = (
        r"at most window=4 tokens, got a source of 6; set window to at least 6, or "
        "overflow='truncate' to read its last 4 only"
    )
    with pytest.raises(ValueError, match=message):
        model.encode(*pad([[4], [4, 5, 6, 7, 8, 9]]))
    with pytest.raises(ValueError, match="got a source of 5"):
        model_of(SPEC, window=4).generate([[4, 5, 6, 7, 8]], max_new_tokens=2)


def test_a_longer_source_is_cut_by_option() -> None:
    model = model_of(CLASSES, window=4, overflow="truncate")
    with pytest.warns(
        UserWarning, match="the last 4 tokens .* sources of up to 6 tokens are truncated"
    ):
        memory = model.encode(*pad([[4, 5, 6, 7, 8, 9], [10]]))
    cut = model.encode(*pad([[6, 7, 8, 9], [10]]))
    torch.testing.assert_close(memory.pooled, cut.pooled, **EXACT)


@pytest.mark.parametrize("window", [1, 2, 4])
def test_nothing_outside_the_window_changes_the_output(window: int) -> None:
    model = model_of(LANGUAGE, window=window)
    embedded = torch.randn(1, 7, 4).double().requires_grad_()
    answers, _ = model.decoder(embedded, None)
    for step in range(7):
        (gradient,) = torch.autograd.grad(answers[0, step].sum(), embedded, retain_graph=True)
        moved = (gradient[0] != 0).any(-1).tolist()
        assert moved == [step - window < place <= step for place in range(7)]


def test_zero_tokens_give_an_empty_output_and_the_same_state() -> None:
    model = model_of(LANGUAGE, window=3)
    tokens = torch.tensor([[2, 4, 5]])
    none, state = model.decode(tokens[:, :0], None)
    assert none.shape == (1, 0, 4)
    whole, _ = model.decode(tokens, None)
    after, _ = model.decode(tokens, None, state)
    torch.testing.assert_close(after, whole, **EXACT)


def test_it_generates_and_overfits() -> None:
    model = sl.FeedForward(SPEC, window=4, d_model=16, dropout=0.0)
    source, target = [[4, 5], [7], [8, 9, 10]], [[6], [4, 5, 6, 7], [8, 8, 8, 8, 4]]
    batch = SequenceBatch(*pad(source), *pad([[2, *ids, 3] for ids in target]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        model.compute_loss(batch).loss.backward()
        optimizer.step()
    assert model.generate(source) == target


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window of at least 1, got 0"),
        ({"overflow": "keep"}, "expected overflow 'error' or 'truncate', got 'keep'"),
        ({"num_layers": 0}, "expected num_layers of at least 1, got 0"),
        ({"dropout": 1.0}, "dropout of at least 0 and below 1"),
        ({"d_model": 0}, "d_model of at least 1"),
    ],
)
def test_bad_arguments(
    options: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    with pytest.raises(ValueError, match=message):
        sl.FeedForward(SPEC, **options)
