"""Attention that torch computes: the captured weights, their owner, and that nothing changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import scaled_dot_product_attention as alias

import seqlearn as sl
from seqlearn.instrumentation import ActivationListener, add_listener
from seqlearn.introspect import record
from seqlearn.introspect.recording.torch_functions import capture_torch_attention
from seqlearn.nn import MultiHeadAttention


class Listener(ActivationListener):
    """Stores every activation, with the module that reported it."""

    def __init__(self) -> None:
        self.activations: list[tuple[object, Tensor]] = []

    def on_activation(
        self, kind: str, owner: object, make: Callable[[], Tensor], axes: object
    ) -> None:
        if kind != "attention":
            return
        self.activations.append((owner, make()))

    @property
    def weights(self) -> list[Tensor]:
        return [weights for _, weights in self.activations]


class Attention(nn.Module):
    """Attention that calls the function under another name."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
        return alias(query, key, value, **options)


def capture(model: nn.Module, *inputs: Tensor, **options: object) -> tuple[Tensor, Listener]:
    listener = Listener()
    with add_listener(listener), capture_torch_attention(model):
        output = model(*inputs, **options)
    return output, listener


BOOL = torch.tensor([[True, True, False, True, False, True, True]])
FLOAT = torch.linspace(-2, 2, 35).view(5, 7)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attn_mask": BOOL},
        {"attn_mask": FLOAT},
        {"attn_mask": FLOAT.masked_fill(~BOOL, -torch.inf)},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": torch.zeros(5, 7, dtype=torch.bool).index_fill(0, torch.tensor(2), True)},
    ],
)
@pytest.mark.parametrize("lead", [(2, 3), (2,), (), (2, 4, 3)])
def test_weights_times_values_is_the_output(options: dict, lead: tuple[int, ...]) -> None:
    query, key = torch.randn(*lead, 5, 8), torch.randn(*lead, 7, 8)
    value = torch.randn(*lead, 7, 6)
    output, listener = capture(Attention(), query, key, value, **options)
    assert torch.equal(
        output, functional.scaled_dot_product_attention(query, key, value, **options)
    )
    (weights,) = listener.weights
    assert weights.ndim == 4
    heads = lead[-1] if len(lead) > 1 else 1
    assert weights.shape[1] == heads
    again = weights @ value.reshape(-1, heads, 7, 6)
    torch.testing.assert_close(again.reshape(output.shape), output, atol=1e-6, rtol=1e-5)
    sums = weights.sum(-1)
    assert (((sums - 1).abs() < 1e-5) | (sums == 0)).all()


def test_scores_queries_keys_and_values_of_a_fused_call() -> None:
    model = Attention()
    query, key, value = torch.randn(2, 6, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    mask = BOOL.expand(2, 6, 5, 7)
    with record(model, what=["attention", "scores", "queries", "keys", "values"]) as found:
        output = model(query, key, value, attn_mask=mask, enable_gqa=True, scale=0.3)
    scores, weights = found["scores"][""], found["attention"][""]
    torch.testing.assert_close(scores.softmax(-1).nan_to_num(0.0), weights)
    product = 0.3 * found["queries"][""] @ found["keys"][""].mT
    torch.testing.assert_close(scores, product.masked_fill(~mask, -torch.inf))
    torch.testing.assert_close(weights @ found["values"][""], output)
    with record(model, what=["scores"]) as alone:
        model(query, key, value, enable_gqa=True)
    assert list(alone.extra) == ["scores"]


def test_a_mask_for_each_example_and_head() -> None:
    query, key, value = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 6)
    for mask in (torch.rand(2, 3, 5, 7) < 0.5, torch.randn(2, 1, 5, 7)):
        output, listener = capture(Attention(), query, key, value, attn_mask=mask)
        torch.testing.assert_close(listener.weights[0] @ value, output)


def test_fewer_heads_of_keys_than_of_queries() -> None:
    query, key, value = torch.randn(2, 6, 5, 8), torch.randn(2, 2, 7, 8), torch.randn(2, 2, 7, 8)
    output, listener = capture(Attention(), query, key, value, enable_gqa=True)
    torch.testing.assert_close(listener.weights[0] @ value.repeat_interleave(3, 1), output)


def test_weights_are_those_before_dropout_and_no_random_number_is_drawn() -> None:
    query = torch.randn(2, 3, 5, 8)
    torch.manual_seed(1)
    expected, after = Attention()(query, query, query, dropout_p=0.5), torch.rand(1)
    torch.manual_seed(1)
    output, listener = capture(Attention(), query, query, query, dropout_p=0.5)
    assert torch.equal(output, expected)
    assert torch.equal(torch.rand(1), after)
    torch.testing.assert_close(listener.weights[0].sum(-1), torch.ones(2, 3, 5))


def test_not_a_number_is_passed_on() -> None:
    query = torch.full((1, 1, 2, 4), torch.nan)
    assert capture(Attention(), query, query, query)[1].weights[0].isnan().all()
    layer = nn.MultiheadAttention(4, 1, batch_first=True).eval()
    assert capture(layer, *[query[0]] * 3)[1].weights[0].isnan().all()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")  # PyTorch's own
def test_nested_tensors_are_refused() -> None:
    tensors = [torch.randn(3, 2, 4), torch.randn(5, 2, 4)]
    nested = torch.nested.nested_tensor(tensors, layout=torch.jagged).transpose(1, 2)
    with pytest.raises(ValueError, match="expected padded tensors"):
        capture(Attention(), nested, nested, nested)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal", "heads"])
def test_multi_head_attention_of_torch(
    batch_first: bool, need_weights: bool, training: bool, mask: str
) -> None:
    layer = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=batch_first).train(training)
    query, source = torch.randn(3, 4, 8), torch.randn(3, 4, 8)
    padding = torch.zeros(3, 4, dtype=torch.bool)
    padding[1, 2:] = True
    padding[2] = True
    options: dict = {"need_weights": need_weights}
    attn_mask = torch.zeros(4, 4, dtype=torch.bool)
    if mask == "causal":
        attn_mask = torch.ones(4, 4, dtype=torch.bool).triu(1)
        options |= {"is_causal": True, "attn_mask": attn_mask}
        padding[:] = False
    elif mask == "none":
        padding[:] = False
    else:
        attn_mask[1, :] = True
        attn_mask[2, 0] = True
        attn_mask = attn_mask.expand(6, 4, 4) if mask == "heads" else attn_mask
        options |= {"key_padding_mask": padding, "attn_mask": attn_mask}
        if mask == "float":
            zeros = torch.zeros(()).expand
            options["key_padding_mask"] = zeros(3, 4).masked_fill(padding, -torch.inf)
            options["attn_mask"] = zeros(4, 4).masked_fill(attn_mask, -torch.inf)
    given = (
        (query, source, source)
        if batch_first
        else [t.transpose(0, 1) for t in (query, source, source)]
    )

    torch.manual_seed(1)
    expected, after = layer(*given, **options), torch.rand(1)
    torch.manual_seed(1)
    output, listener = capture(layer, *given, **options)
    torch.testing.assert_close(output[0], expected[0], atol=1e-6, rtol=0, equal_nan=True)
    assert torch.equal(torch.rand(1), after)
    assert (output[1] is None) == (not need_weights)

    hidden = padding[:, None, None] | attn_mask.reshape(
        -1, attn_mask.shape[0] // 3 if mask == "heads" else 1, 4, 4
    )
    projected = functional.linear(query, layer.in_proj_weight[:8], layer.in_proj_bias[:8])
    keys = functional.linear(source, layer.in_proj_weight[8:16], layer.in_proj_bias[8:16])
    q, k = (t.view(3, 4, 2, 4).transpose(1, 2) for t in (projected, keys))
    by_hand = (q @ k.mT / 2).masked_fill(hidden, -torch.inf).softmax(-1).nan_to_num()
    assert [owner for owner, _ in listener.activations] == [layer]
    torch.testing.assert_close(listener.weights[0], by_hand, atol=1e-6, rtol=0)


def test_no_batch_and_keys_that_torch_adds() -> None:
    layer = nn.MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True).eval()
    padding = torch.tensor([False, False, True])
    inputs = torch.randn(3, 8)
    _, listener = capture(
        layer, inputs, inputs, inputs, key_padding_mask=padding, need_weights=False
    )
    assert listener.weights[0].shape == (1, 2, 3, 5)
    assert (listener.weights[0][..., 2] == 0).all()
    torch.testing.assert_close(listener.weights[0].sum(-1), torch.ones(1, 2, 3))
    _, listener = capture(layer, inputs, inputs, inputs, key_padding_mask=~torch.zeros(3).bool())
    torch.testing.assert_close(listener.weights[0].sum(-1), torch.ones(1, 2, 3))


# The owner


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.other = Attention(), nn.Identity()
        self.other_model = [Attention()]  # in a list, so it is not a submodule

    def forward(self, inputs: Tensor) -> Tensor:
        inner = self.inner(inputs, inputs, inputs)
        strange = self.other_model[0](inputs, inputs, inputs)
        return self.other(inner + strange + with_module(self.other, inputs))


def with_module(module: nn.Module, inputs: Tensor) -> Tensor:
    """In the form of Hugging Face's attention functions."""
    return functional.scaled_dot_product_attention(inputs, inputs, query_of(inputs))


def query_of(inputs: Tensor) -> Tensor:
    return inputs


def test_the_owner_is_the_innermost_running_module_of_the_model() -> None:
    model, inputs = Outer(), torch.randn(1, 2, 3, 4)
    _, listener = capture(model, inputs)
    assert [owner for owner, _ in listener.activations] == [model.inner, model, model.other]


def test_calls_of_others_are_not_recorded() -> None:
    listener, model, inputs = Listener(), Outer(), torch.randn(1, 2, 3, 4)
    with add_listener(listener), capture_torch_attention(model):
        Attention()(inputs, inputs, inputs)
        functional.scaled_dot_product_attention(inputs, inputs, inputs)
    assert listener.activations == []


def test_seqlearns_own_attention_is_recorded_once() -> None:
    layer = MultiHeadAttention(8, 2).eval()
    inputs = torch.randn(2, 40, 8)
    mask = torch.ones(2, 40, dtype=torch.bool)
    _, listener = capture(layer, inputs, mask)
    assert len(listener.activations) == 1


def test_nested_recordings_record_each_call_once() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    model = nn.Sequential(layer, Outer())
    listener, inputs = Listener(), torch.randn(2, 3, 8)
    with ExitStack() as stack:
        for entered in (
            add_listener(listener),
            capture_torch_attention(model),
            capture_torch_attention(layer),
        ):
            stack.enter_context(entered)
        layer(inputs)
        assert [owner for owner, _ in listener.activations] == [layer.self_attn]
        model[1](inputs)
        assert len(listener.activations) == 4


# Nothing else changes


def test_another_thread_is_not_recorded() -> None:
    model, inputs, listener = Attention(), torch.randn(1, 2, 3, 4), Listener()
    with add_listener(listener), capture_torch_attention(model):
        other = threading.Thread(target=model, args=(inputs, inputs, inputs))
        other.start()
        other.join()
        assert listener.activations == []
        model(inputs, inputs, inputs)
    assert len(listener.activations) == 1


def test_nothing_is_left_and_an_exception_ends_it() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    inputs, before = torch.randn(3, 2, 8), {n: dict(vars(m)) for n, m in model.named_modules()}
    listener = Listener()
    with (
        pytest.raises(AssertionError, match="embedding dimension"),
        add_listener(listener),
        capture_torch_attention(model),
    ):
        model(inputs[..., :7])
    assert listener.activations == []
    with add_listener(listener):
        model(inputs)
        assert listener.activations == []
        with capture_torch_attention(model):
            model(inputs)
        assert len(listener.activations) == 2
        model(inputs)
        assert len(listener.activations) == 2
    after = {n: dict(vars(m)) for n, m in model.named_modules()}
    assert {n: list(held) for n, held in after.items()} == {n: list(h) for n, h in before.items()}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_gradients_are_the_same() -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    inputs = torch.randn(2, 3, 8)
    layer(inputs, inputs, inputs)[0].square().sum().backward()
    expected, layer.in_proj_weight.grad = layer.in_proj_weight.grad, None
    output, listener = capture(layer, inputs, inputs, inputs)
    output[0].square().sum().backward()
    assert torch.equal(layer.in_proj_weight.grad, expected)
    assert not listener.weights[0].requires_grad


def test_a_compiled_model_is_recorded() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), 2)
    inputs = torch.randn(2, 3, 8)
    compiled = torch.compile(model, backend="eager")
    expected = compiled(inputs)
    with sl.record(model) as recording:
        output = compiled(inputs)
    assert list(recording.attention) == ["layers.0.self_attn", "layers.1.self_attn"]
    torch.testing.assert_close(output, expected)


def test_record_names_and_labels_them() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    with sl.record(model.eval()) as recording:
        model(torch.randn(2, 3, 8))
    ((name, weights),) = recording.attention.items()
    assert name == "0.self_attn"
    assert weights.shape == (2, 2, 3, 3)


def test_eager_attention_of_hugging_face_says_what_to_pass() -> None:
    """It calls none of torch's functions: `record` cannot capture it and warns."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=8, attn_implementation="eager",
    )  # fmt: skip
    model, ids = transformers.BertModel(config).eval(), torch.tensor([[5, 6, 7]])
    warned = pytest.warns(UserWarning, match="'encoder.layer.0.attention.self'.*\"sdpa\"")
    with warned, torch.no_grad(), sl.record(model):
        model(ids)
    model.set_attn_implementation("sdpa")  # as the warning says
    with torch.no_grad(), sl.record(model) as recording:
        model(ids)
    assert list(recording.attention) == ["encoder.layer.0.attention.self"]
