"""RNN, GRU and LSTM: what passes from encoder to decoder, and every task."""

from __future__ import annotations

import pytest
import torch

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.testing.trainer_stub import trainer

SPEC = sl.SequenceSpec(sl.TextSpec(11, 8), sl.TextSpec(9, 8))
LANGUAGE = sl.SequenceSpec(None, sl.TextSpec(9, 8))
MODELS = (sl.RNN, sl.GRU, sl.LSTM)
SOURCES = [[4, 5, 6], [7], []]
TARGETS = [[4, 5, 6, 7, 8], [], [8, 8]]
BATCH = SequenceBatch(*pad(SOURCES), *pad([[2, *ids, 3] for ids in TARGETS]))


@pytest.mark.parametrize("model_class", MODELS)
def test_the_context_is_all_that_passes(model_class: type[sl.SequenceModule]) -> None:
    """Other states with the same pooled vector change nothing; another pooled vector does."""
    model = model_class(SPEC, d_model=8, num_layers=2).eval()
    with torch.no_grad():
        memory = model.encode(BATCH.source, BATCH.source_lengths)
        answers, _ = model.decode(BATCH.target, memory)
        noise = memory._replace(states=torch.randn_like(memory.states), mask=~memory.mask)
        same, _ = model.decode(BATCH.target, noise)
        other, _ = model.decode(BATCH.target, memory._replace(pooled=memory.pooled + 0.1))
    assert memory.pooled.shape == (3, 8)
    assert memory.pooled.abs().max() < 1
    assert (memory.pooled[2] == 0).all()
    assert torch.equal(same, answers)
    assert ((other - answers).abs().amax(-1) > 0).all()


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("model_class", MODELS)
def test_the_summary_holds_the_final_state_of_every_layer_and_direction(
    model_class: type[sl.SequenceModule], bidirectional: bool
) -> None:
    """By gradient: each weight of each layer and direction moves it."""
    model = model_class(SPEC, d_model=8, num_layers=3, bidirectional=bidirectional).eval()
    parts = 6 if model_class is sl.LSTM else 3
    assert model.encoder.context.in_features == parts * 8
    read: list[torch.Tensor] = []
    hook = model.encoder.context.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    memory = model.encode(BATCH.source, BATCH.source_lengths)
    hook.remove()
    memory.pooled.sum().backward()
    kernels = [p for p in model.encoder.layers.parameters() if p.ndim == 2]
    assert len(kernels) == 3 * (1 + bidirectional) * 2
    assert all((p.grad != 0).any() for p in kernels)
    last = read[0][:2].view(2, parts, 8)[:, -1 if model_class is not sl.LSTM else -2]
    half = 4 if bidirectional else 8
    for row, length in enumerate((3, 1)):
        there, back = memory.states[row, length - 1, :half], memory.states[row, 0, half:]
        torch.testing.assert_close(last[row], torch.cat([there, back]))


@pytest.mark.parametrize("model_class", MODELS)
def test_dropout_falls_beside_the_path_through_time(model_class: type[sl.SequenceModule]) -> None:
    """With everything else dropped, the state still passes from step to step (Zaremba 2014)."""
    model = model_class(LANGUAGE, d_model=8, num_layers=1, dropout=0.5).train()
    for parameter in model.decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    tokens = torch.tensor([[2, 4, 5, 6]])
    kernel = model.decoder.layers[0].kernel
    seen: list[tuple] = []
    hook = kernel.register_forward_hook(lambda _, args, out: seen.append((args[0], out[0])))
    answers, state = model.decode(tokens, None)
    hook.remove()
    read, hidden = seen[0]
    assert 0 < (read == 0).sum() < read.numel()
    assert 0 < (answers == 0).sum() < answers.numel()
    again, _ = kernel(read)
    torch.testing.assert_close(again, hidden)
    torch.testing.assert_close(state[0][0], hidden[:, -1])
    assert (state[0][0] != 0).all()


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("model_class", MODELS)
def test_every_task_predicts(model_class: type[sl.SequenceModule], bidirectional: bool) -> None:
    sizes = {"d_model": 8, "num_layers": 2, "bidirectional": bidirectional}
    model = model_class(SPEC, **sizes)
    together = model.generate(SOURCES, max_new_tokens=4)
    assert together == [model.generate([source], max_new_tokens=4)[0] for source in SOURCES]
    vectors = model_class(sl.SequenceSpec(sl.VectorSpec(3), sl.TextSpec(9, 8)), **sizes)
    assert len(vectors.generate([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]], max_new_tokens=3)) == 2
    language = model_class(LANGUAGE, **sizes)
    (text,) = language.generate(prompts=[[5, 6]], max_new_tokens=3)
    assert text[:2] == [5, 6]
    for target, size in ((sl.ClassesSpec(("a", "b")), 2), (sl.VectorSpec(5), 5)):
        reads = model_class(sl.SequenceSpec(sl.TextSpec(11, 8), target), **sizes)
        answer = torch.tensor([0, 1, 0]) if size == 2 else torch.randn(3, 5)
        assert reads(SequenceBatch(*pad(SOURCES), answer, None)).shape == (3, size)


@pytest.mark.parametrize("model_class", MODELS)
def test_it_overfits_a_small_batch(model_class: type[sl.SequenceModule]) -> None:
    model = model_class(SPEC, d_model=16, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(80):
        optimizer.zero_grad()
        model.compute_loss(BATCH).loss.backward()
        optimizer.step()
    assert model.generate(SOURCES) == TARGETS


@pytest.mark.parametrize("model_class", [*MODELS, sl.AttentionSeq2Seq])
def test_bf16_autocast(model_class: type[sl.SequenceModule]) -> None:
    """Trains, though many CPUs have no LSTM kernel in bf16."""
    model = model_class(SPEC, d_model=8, num_layers=2, bidirectional=True, dropout=0.0)
    full = model.compute_loss(BATCH).loss
    with torch.autocast("cpu", torch.bfloat16):
        half = model.compute_loss(BATCH).loss
        memory = model.encode(BATCH.source, BATCH.source_lengths)
        _, state = model.decode(BATCH.target[:, :2], memory)
        model.decode(BATCH.target[:, 2:], memory, state)
    half.backward()
    torch.testing.assert_close(half.float(), full, atol=0.0, rtol=0.02)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("model_class", MODELS)
def test_a_language_model_leaves_no_rank_waiting(model_class: type[sl.SequenceModule]) -> None:
    model = model_class(LANGUAGE, d_model=8)
    model.trainer = trainer()
    model.setup("fit")
    model.compute_loss(BATCH._replace(source=None, source_lengths=None)).loss.backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "expected num_layers of at least 1, got 0"),
        ({"d_model": 7, "bidirectional": True}, "expected an even width, got 7"),
        ({"dropout": 1.0}, "dropout of at least 0 and below 1"),
        ({"d_model": 0}, "d_model of at least 1"),
    ],
)
@pytest.mark.parametrize("model_class", MODELS)
def test_bad_arguments(
    model_class: type[sl.SequenceModule], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model_class(SPEC, **options)
