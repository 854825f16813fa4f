"""The Transformer on every task, with each encoding of positions."""

from __future__ import annotations

from pathlib import Path

import jaxtyping
import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

import seqlearn as sl
from seqlearn.batch import SequenceBatch, pad
from seqlearn.models.transformer import max_positions
from seqlearn.nn import MultiHeadAttention
from seqlearn.testing.trainer_stub import trainer

TEXT, WORDS = sl.TextSpec(11, 6), sl.TextSpec(9, 6)
SIZES = {"d_model": 16, "num_layers": 2, "num_heads": 2, "dropout": 0.0}
SOURCES = [[4, 5, 6], [7], []]
TARGETS = [[4, 5, 6, 7, 8], [], [8, 8]]
VECTORS = torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0], [-1.0, 0.0, 0.0]])
WRITTEN = pad([[2, *ids, 3] for ids in TARGETS])
TASKS = {
    "sequence-to-sequence": (TEXT, WORDS, SequenceBatch(*pad(SOURCES), *WRITTEN)),
    "vector-to-sequence": (sl.VectorSpec(3), WORDS, SequenceBatch(VECTORS, None, *WRITTEN)),
    "language-modeling": (None, WORDS, SequenceBatch(None, None, *WRITTEN)),
    "sequence-to-class": (
        TEXT,
        sl.ClassesSpec(("a", "b")),
        SequenceBatch(*pad(SOURCES), torch.tensor([1, 0, 1]), None),
    ),
    "sequence-to-vector": (TEXT, sl.VectorSpec(3), SequenceBatch(*pad(SOURCES), VECTORS, None)),
}
POSITIONS = ("sinusoidal", "learned", "rotary")


@pytest.mark.filterwarnings("ignore:.*(number of training batches|no `val_dataloader`)")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_every_task_is_overfitted_through_the_trainer(
    task: str, positions: str, tmp_path: Path
) -> None:
    source, target, batch = TASKS[task]
    spec = sl.SequenceSpec(source, target)
    recipe = sl.Recipe(lr=1e-2, warmup_steps=5, schedule="constant")
    model = sl.Transformer(spec, **SIZES, positions=positions, recipe=recipe)
    fitter = L.Trainer(
        max_epochs=60, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    loader = DataLoader([batch], batch_size=None)
    fitter.fit(model, loader)
    (figures,) = fitter.validate(model, loader, verbose=False)
    if task == "language-modeling":  # the first token cannot be known
        assert figures["val/loss"] < 0.6
        assert model.generate(prompts=[[4], [8]]) == [TARGETS[0], TARGETS[2]]
    elif task == "sequence-to-vector":
        assert figures["val/loss"] < 0.05
    elif task == "sequence-to-class":
        assert figures["val/accuracy"] == 1.0
        assert model.classify(SOURCES)[0] == ["b", "a", "b"]
    else:
        assert figures["val/exact_match"] == 1.0
        assert model.generate(SOURCES if source is TEXT else VECTORS) == TARGETS


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_without_a_source_nothing_looks_across(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(MultiHeadAttention, "project_memory", refuse)
    monkeypatch.setattr(MultiHeadAttention, "cross_attention", refuse)
    source, target, batch = TASKS["language-modeling"]
    model = sl.Transformer(sl.SequenceSpec(source, target), **SIZES, norm=norm)
    model.compute_loss(batch).loss.backward()
    model.generate(max_new_tokens=3)
    assert all(p.grad is None for p in model.encoder.parameters())
    model.trainer = trainer()
    model.setup("fit")
    across = [p for name, p in model.decoder.named_parameters() if "cross" in name]
    assert across
    assert not any(p.requires_grad for p in across)


@pytest.mark.parametrize("spec", [(TEXT, WORDS), (None, WORDS), (sl.VectorSpec(3), WORDS)])
@pytest.mark.parametrize("strategy", ["greedy", "beam", "sample"])
def test_generation_to_its_default_limit_needs_no_more_positions_than_are_learned(
    spec: tuple, strategy: str
) -> None:
    """With a prompt as long as the longest target, and no answer that ends."""
    model = sl.Transformer(sl.SequenceSpec(*spec), **SIZES, positions="learned")
    model.head.bias.data[3] = -1e4
    sources = {TEXT: [[4] * 6], None: None}.get(spec[0], VECTORS[:1])
    prompt = [5] * 6
    (answer,), scores = model.generate(
        sources, prompts=[prompt], strategy=strategy, return_scores=True
    )
    assert len(answer) == 6 + 12
    assert scores.isfinite().all()
    with pytest.raises(ValueError, match="expected at most 19 positions, got 20;"):
        model.generate(sources, prompts=[prompt], strategy=strategy, max_new_tokens=14)


def test_learned_positions_reach_as_far_as_the_texts_seen() -> None:
    assert max_positions(sl.SequenceSpec(sl.TextSpec(9, 20), sl.TextSpec(9, 10))) == (20, 31)
    assert max_positions(sl.SequenceSpec(sl.TextSpec(9, 0), sl.TextSpec(9, 1))) == (1, 10)
    assert max_positions(sl.SequenceSpec(sl.VectorSpec(3), WORDS)) == (1, 19)
    model = sl.Transformer(sl.SequenceSpec(TEXT, WORDS), **SIZES, positions="learned")
    with pytest.raises(ValueError, match="expected at most 6 positions, got 7;"):
        model.generate([[4] * 7])


def test_learned_embeddings_are_not_scaled_and_others_are() -> None:
    inputs = torch.randn(1, 4, 16)
    for positions, added in (("learned", True), ("rotary", False)):
        model = sl.Transformer(sl.SequenceSpec(TEXT, WORDS), **SIZES, positions=positions)
        for half in (model.encoder, model.decoder):
            expected = inputs + half.positions.weight[2:6] if added else 4 * inputs
            torch.testing.assert_close(half.positions(inputs, 2), expected)


def test_without_positions_the_order_is_not_seen_and_with_any_it_is() -> None:
    spec = sl.SequenceSpec(TEXT, sl.ClassesSpec(("a", "b")))
    there, back = (SequenceBatch(*pad([ids]), torch.tensor([0]), None) for ids in ([4, 5], [5, 4]))
    for positions in POSITIONS:
        model = sl.Transformer(spec, **SIZES, positions=positions).double().eval()
        assert (model(there) - model(back)).abs().max() > 1e-4
        for part in model.modules():
            if isinstance(part, MultiHeadAttention):
                part.rotary = False
        model.encoder.positions = sl.nn.ScaledEmbedding()
        torch.testing.assert_close(model(there), model(back))


def test_gelu_is_as_defined() -> None:
    model = sl.Transformer(sl.SequenceSpec(TEXT, WORDS), **SIZES, activation="gelu").double()
    block = model.encoder.layers[0].feedforward
    x = torch.randn(2, 3, 16, dtype=torch.float64)
    inner = block.inner(x)
    expected = block.outer(inner * torch.special.ndtr(inner))
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("own", ["dropout", "attention_dropout", "activation_dropout"])
def test_each_dropout_acts_where_it_is_said_to(own: str, norm: str) -> None:
    source, target, batch = TASKS["sequence-to-sequence"]
    options = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, own: 0.25}
    model = sl.Transformer(sl.SequenceSpec(source, target), **SIZES | options, norm=norm)
    given = {"attention_dropout": [], "activation_dropout": [], "dropout": []}
    for name, part in model.named_modules():
        if isinstance(part, MultiHeadAttention):
            given["attention_dropout"].append(part.dropout)
        elif isinstance(part, sl.nn.Dropout):
            kind = "activation_dropout" if "feedforward" in name else "dropout"
            given[kind].append(part.probability)
    assert {name: set(values) for name, values in given.items()} == {
        name: {value} for name, value in options.items()
    }
    assert not torch.equal(model.train()(batch), model(batch))
    assert torch.equal(model.eval()(batch), model(batch))


def test_by_default_every_dropout_is_the_same_and_all_are_checked(unchecked: None) -> None:
    source, target, batch = TASKS["sequence-to-sequence"]
    spec = sl.SequenceSpec(source, target)
    same = sl.Transformer(spec, **SIZES | {"dropout": 0.5})
    layer = same.decoder.layers[0]
    assert layer.cross_attention.dropout == layer.feedforward.dropout.probability == 0.5
    none = sl.Transformer(spec, **SIZES)
    assert torch.equal(none.train()(batch), none(batch))
    for name in ("dropout", "attention_dropout", "activation_dropout"):
        with pytest.raises(ValueError, match="expected a dropout of at least 0 and below 1, got 1"):
            sl.Transformer(spec, **SIZES | {name: 1.0})


@pytest.mark.parametrize("positions", POSITIONS)
def test_checkpoints_know_positions_and_activation(positions: str, tmp_path: Path) -> None:
    source, target, batch = TASKS["sequence-to-sequence"]
    spec = sl.SequenceSpec(source, target)
    model = sl.Transformer(spec, **SIZES, positions=positions, activation="gelu").eval()
    fitter = L.Trainer(logger=False, accelerator="cpu", default_root_dir=tmp_path)
    fitter.strategy.connect(model)
    fitter.save_checkpoint(tmp_path / "model.ckpt")
    loaded = sl.Transformer.load_from_checkpoint(tmp_path / "model.ckpt").eval()
    assert torch.equal(loaded(batch), model(batch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": "alibi"}, r"'rotary'.* got 'alibi'"),
        ({"activation": "swish"}, "expected activation 'relu' or 'gelu', got 'swish'"),
        ({"norm": "middle"}, "expected norm 'post' or 'pre', got 'middle'"),
    ],
)
def test_unknown_mechanisms(
    options: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Or the run-time check of types would refuse them first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        sl.Transformer(sl.SequenceSpec(TEXT, WORDS), **SIZES, **options)
