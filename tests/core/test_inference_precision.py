"""Copies of lower precision: close to the module, consistent, refused where they do not work."""

from __future__ import annotations

import warnings

import lightning as L
import pytest
import torch
from torch import nn

import seqlearn as sl
from seqlearn.core import inference_precision, input_rounding
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


class Rows(sl.data.SequenceDataModule):
    """Examples in memory."""

    def __init__(self, source, target, rows):
        super().__init__(source, target, batch_tokens=512)
        self.rows = rows

    def examples(self, split):
        return {"train": self.rows[:-40], "val": self.rows[-40:], "test": self.rows[-40:]}[split]


def kelvins():
    """Series of small changes around a large number; what counts is whether they rise or fall."""
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number in range(200):
        rising = number % 2 == 0
        slope = torch.linspace(-1.0, 1.0, 12) * (1 if rising else -1)
        values = 293 + slope + 0.1 * torch.randn(12, generator=generator)
        rows.append((values[:, None].tolist(), "rising" if rising else "falling"))
    return Rows(sl.data.Series(1), sl.data.Classes(), rows)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_numbers_are_scaled_before_they_are_rounded(precision, tmp_path):
    data = kelvins()
    torch.manual_seed(0)
    model = sl.GRU(data.spec, d_model=8, recipe=sl.Recipe(lr=0.02, warmup_steps=1))
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(model, data)
        (expected,) = trainer.test(model, data, verbose=False)
        copied = fast(model, precision)
        (found,) = trainer.test(copied, data, verbose=False)
    assert expected["test/accuracy"] > 0.95
    assert found["test/accuracy"] > 0.95
    sources = [source for source, _ in data.examples("test")]
    assert copied.predict(sources) == model.predict(sources)


@pytest.mark.parametrize("size", [1, 2])
def test_vectors_are_close_in_bf16_and_keep_their_unit(size, tmp_path):
    generator = torch.Generator().manual_seed(0)
    numbers = 293 + torch.randn(80, 4, generator=generator)
    rows = [(each[:, None].tolist(), (101325 + 10 * each[:size]).tolist()) for each in numbers]
    data = Rows(sl.data.Series(1), sl.data.Vector(size), rows)
    torch.manual_seed(0)
    model = sl.FeedForward(data.spec, d_model=8, window=4)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path
    )
    sources = [source for source, _ in rows[50:]]
    for precision in PRECISIONS:
        copied = fast(model, precision)
        one, other = (torch.stack(list(each.predict(sources))) for each in (model, copied))
        assert other.dtype == torch.float32
        torch.testing.assert_close(one, other, atol=0.3, rtol=0)  # pascals, of 10
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (expected,) = trainer.test(model, data, verbose=False)
            (found,) = trainer.test(copied, data, verbose=False)
        assert found["test/loss"] == pytest.approx(expected["test/loss"], rel=0.05)


@pytest.mark.parametrize("inputs", range(1, 10))
@pytest.mark.parametrize("outputs", [1, 2, 3, 17])
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_layer_of_any_size_is_close(inputs, outputs, rows):
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs)
    values = torch.randn(rows, inputs)
    with torch.no_grad():
        torch.testing.assert_close(Int8Linear(layer)(values), layer(values), atol=0.1, rtol=0)


def test_inputs_in_bf16_do_not_overflow():
    torch.manual_seed(0)
    layer, values = nn.Linear(64, 32), torch.randn(2000, 64)
    with torch.no_grad():
        error = (Int8Linear(layer)(values.bfloat16()) - layer(values)).abs().max()
    assert error < 0.1


def test_a_gradient_through_eight_bits_is_refused():
    layer, values = Int8Linear(nn.Linear(4, 4)), torch.randn(2, 4, requires_grad=True)
    with pytest.raises(ValueError, match=r"no gradients; use the module that for_inference\('int8"):
        layer(values)
    with torch.no_grad():
        layer(values)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_copy_stays_in_its_precision_and_takes_no_weights(precision):
    module = build("GRU", "sequence-to-sequence")
    copied = fast(module, precision)
    before = copied.generate(SOURCES, max_new_tokens=4)
    for convert in (copied.double, copied.half):
        with pytest.raises(ValueError, match=r"to stay in .* got a conversion to torch\.float"):
            convert()
    with pytest.raises(ValueError, match="load_state_dict does not work with the copy"):
        copied.load_state_dict(module.state_dict())
    assert copied.to("cpu").generate(SOURCES, max_new_tokens=4) == before


def test_layers_with_hooks_stay_and_a_layer_with_two_names_is_one():
    class Twice(sl.GRU):
        def __init__(self, spec):
            super().__init__(spec, d_model=8)
            self.extra = nn.ModuleList([nn.Linear(8, 8)] * 2)
            self.hooked = nn.Linear(8, 8)
            self.hooked.register_forward_hook(lambda _layer, _inputs, output: 2 * output)

    module = Twice(TASKS["sequence-to-sequence"])
    copied = fast(module, "int8")
    assert isinstance(copied.extra[0], Int8Linear)
    assert copied.extra[0] is copied.extra[1]
    values = torch.randn(3, 8)
    with torch.no_grad():
        torch.testing.assert_close(copied.hooked(values), module.hooked(values))
        module.extra[0].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"layer extra\.0: expected finite weights"):
        fast(module, "int8")


@pytest.mark.parametrize(
    ("precision", "mean", "warned"),
    [
        ("bf16-true", 293.0, True),
        ("16-true", 293.0, True),
        ("16-true", 20.0, False),
        ("bf16-true", 1.0, False),
        ("16-true", 1e5, True),
        ("bf16-mixed", 1e5, False),
    ],
)
def test_a_trainer_that_rounds_numbers_says_so(precision, mean, warned):
    source = sl.SeriesSpec(1, mean=(mean,), std=(1.5,))
    spec = sl.SequenceSpec(source, sl.ClassesSpec(("a", "b")))
    trainer = L.Trainer(precision=precision, accelerator="cpu", logger=False)
    with warnings.catch_warnings(record=True, action="always") as caught:
        input_rounding.warn_of_rounding(trainer, spec)
    assert bool(caught) == warned
    assert all("rounds the numbers of the source (mean" in str(each.message) for each in caught)
