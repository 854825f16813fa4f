"""Copies of lower precision: close to the module, consistent, refused where they do not work."""

from __future__ import annotations

import warnings

import lightning as L
import pytest
import torch
from torch import nn

import seqlearn as sl
from seqlearn.core import inference_precision
from seqlearn.nn import Int8Linear, MultiHeadAttention, int8_linear
from seqlearn.testing import TASKS, batch_of
from seqlearn.testing.cases import rich_examples

ARCHITECTURES = {
    "FeedForward": {"window": 8},
    "RNN": {"num_layers": 1},
    "GRU": {"num_layers": 1, "bidirectional": True},
    "LSTM": {"num_layers": 2},
    "AttentionSeq2Seq": {},
    "Transformer": {"num_layers": 2, "num_heads": 2},
    "Transformer, pre-norm": {
        "num_layers": 1,
        "num_heads": 2,
        "norm": "pre",
        "positions": "rotary",
    },
}
PRECISIONS = ["bf16", "int8"]
SOURCES = [[5, 6, 7, 8], [4, 5, 6, 7, 5, 6], [4], [8, 8, 5], []]
PAIRS = [{"source": f"{n} apples", "target": f"{n} Äpfel"} for n in range(24)]
TARGETS = [[4, 5], [6], [5, 5, 6, 4], [], [4]]


def build(name: str, task: str) -> sl.SequenceModule:
    torch.manual_seed(0)
    cls = getattr(sl, name.partition(",")[0])
    module: sl.SequenceModule = cls(TASKS[task], d_model=16, **ARCHITECTURES[name])
    return module.eval()


def fast(module: sl.SequenceModule, precision: str) -> sl.SequenceModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a CPU may have no instructions for it
        return module.for_inference(precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_outputs_are_close_in_every_task(name, precision):
    tried = 0
    for task, spec in TASKS.items():
        try:
            module = build(name, task)
        except ValueError:  # the architecture does not have this task
            continue
        copied, tried = fast(module, precision), tried + 1
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        examples = rich_examples(spec)
        with torch.no_grad():
            expected = module(batch_of(spec, examples))
            found = copied(batch_of(spec, examples, dtype)).float()
        error = (found - expected).norm() / expected.norm()
        assert 0 < error < 0.05, task  # and it is another computation
    assert tried >= 3


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["LSTM", "AttentionSeq2Seq", "Transformer"])
def test_a_copy_is_consistent_with_itself(name, precision):
    copied = fast(build(name, "sequence-to-sequence"), precision)
    tolerance = 1e-4 if precision == "int8" else 0.15
    for options in ({}, {"strategy": "beam", "beam_size": 3}):
        texts, scores = copied.generate(SOURCES, return_scores=True, max_new_tokens=6, **options)
        again = copied.score(SOURCES, texts)
        ended = torch.tensor([len(text) < 6 for text in texts])
        torch.testing.assert_close(scores[ended], again[ended], atol=tolerance, rtol=0.02)
    together = copied.score(SOURCES, TARGETS)
    alone = torch.cat([copied.score([s], [t]) for s, t in zip(SOURCES, TARGETS, strict=True)])
    torch.testing.assert_close(together, alone, atol=tolerance, rtol=0.02)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_recordings_and_the_trainer_work_with_a_copy(precision, tmp_path):
    data = sl.data.TextPairs(PAIRS, PAIRS[:8], PAIRS[8:12], columns=("source", "target"))
    module = sl.AttentionSeq2Seq(data.spec, d_model=16)
    copied = fast(module, precision)
    with sl.record(copied) as recording:
        copied.generate(["3 apples"], max_new_tokens=4)
    assert recording.attention
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (figures,) = trainer.test(copied, data, verbose=False)
        (expected,) = trainer.test(module, data, verbose=False)
    assert figures["test/loss"] == pytest.approx(expected["test/loss"], rel=0.05)
    assert module.inference_precision is None


def test_the_module_is_not_changed():
    module = build("Transformer", "sequence-to-sequence")
    before = {name: each.clone() for name, each in module.state_dict().items()}
    module.train()
    for precision in PRECISIONS:
        assert not fast(module, precision).training
    assert module.training
    assert all(each.requires_grad for each in module.parameters())
    assert all(torch.equal(before[name], each) for name, each in module.state_dict().items())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_copy_is_not_trained_saved_or_exported(precision, tmp_path):
    data = sl.data.TextPairs(PAIRS, PAIRS[:8], PAIRS[8:12], columns=("source", "target"))
    copied = fast(sl.GRU(data.spec, d_model=8), precision)
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    said = rf"for_inference\('{precision}'\) made; use the module that it was made from"
    with pytest.raises(ValueError, match=said):
        trainer.fit(copied, data)
    with pytest.raises(ValueError, match=said):
        copied.save_pretrained(tmp_path / "folder")
    with pytest.raises(ValueError, match=said):
        copied.export(tmp_path / "exported")
    with pytest.raises(ValueError, match=said):
        copied.for_inference("bf16")
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_module_of_another_precision_is_converted(dtype, precision):
    module = build("Transformer", "sequence-to-sequence")
    expected = module.score(SOURCES, TARGETS)
    found = fast(module.to(dtype), precision).score(SOURCES, TARGETS)
    torch.testing.assert_close(found, expected, atol=0.2, rtol=0.05)


def test_a_compiled_module_has_copies():
    module = build("Transformer", "sequence-to-sequence")
    module.compile(backend="eager")
    expected = module.score(SOURCES, TARGETS)
    found = fast(module, "int8").score(SOURCES, TARGETS)
    torch.testing.assert_close(found, expected, atol=0.2, rtol=0.05)


@pytest.mark.usefixtures("unchecked")
def test_a_wrong_precision_is_named():
    with pytest.raises(ValueError, match="'bf16' or 'int8', got 'fp8'"):
        build("RNN", "sequence-to-sequence").for_inference("fp8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_cpu_without_the_instructions_is_warned_of(precision, monkeypatch):
    monkeypatch.setattr(inference_precision, "has_vnni", lambda: False)
    monkeypatch.setattr(inference_precision, "has_bf16", lambda: False)
    with pytest.warns(UserWarning, match=r"this CPU has no instructions for"):
        build("RNN", "sequence-to-sequence").for_inference(precision)


@pytest.mark.parametrize("vnni", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_int8_weights_are_the_nearest_ones(vnni, bias, monkeypatch):
    vnni = vnni and int8_linear.has_vnni()
    monkeypatch.setattr(int8_linear, "has_vnni", lambda: vnni)
    torch.manual_seed(0)
    layer = nn.Linear(33, 7, bias=bias)
    made = Int8Linear(layer)
    largest = 127 if vnni else 63
    step = layer.weight.abs().amax(1, keepdim=True) / largest
    assert ((made.weight - layer.weight).abs() <= 0.5001 * step).all()


def test_int8_products_are_exact_on_whole_numbers():
    """Every product of whole numbers is exact, also where all of them are extreme."""
    layer = nn.Linear(40, 6)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.weight[1::2] = -1.0
        layer.bias.zero_()
    made = Int8Linear(layer)
    inputs = torch.tensor([[1.0], [-1.0], [0.0]]).expand(3, 40)
    torch.testing.assert_close(made(inputs), layer(inputs), rtol=1e-5, atol=1e-6)


def test_int8_takes_no_rows_one_row_and_more_dimensions():
    layer = nn.Linear(8, 4)
    made = Int8Linear(layer)
    for shape in ((0, 8), (8,), (2, 0, 8), (2, 3, 8)):
        inputs = torch.randn(shape)
        assert made(inputs).shape == layer(inputs).shape
        torch.testing.assert_close(made(inputs), layer(inputs), atol=0.1, rtol=0.1)
        part = made.outputs(inputs, slice(1, 3))
        assert torch.equal(part, made(inputs)[..., 1:3])


def test_the_parts_of_an_attention_projection_are_converted():
    torch.manual_seed(0)
    attention = MultiHeadAttention(16, 2).eval()
    inputs, memory = torch.randn(2, 3, 16), torch.randn(2, 5, 16)
    mask = torch.ones(2, 5, dtype=torch.bool)
    expected = attention.cross_attention(inputs, attention.project_memory(memory), mask)
    attention.projection = Int8Linear(attention.projection)
    found = attention.cross_attention(inputs, attention.project_memory(memory), mask)
    assert 0 < (found - expected).norm() / expected.norm() < 0.05


def test_weights_that_are_not_finite_are_refused():
    layer = nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight[2, 1] = float("nan")
    with pytest.raises(ValueError, match="expected finite weights"):
        Int8Linear(layer)
