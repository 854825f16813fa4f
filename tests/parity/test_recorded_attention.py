"""Recorded attention of other people's models is what they themselves call their attentions."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import seqlearn as sl

transformers = pytest.importorskip("transformers")

SIZE = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
IDS = torch.tensor([[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 0, 0], [15, 0, 0, 0, 0, 0]])
TARGET = torch.tensor([[2, 20, 21, 22], [2, 23, 24, 0], [2, 25, 0, 0]])


def bert() -> nn.Module:
    return transformers.BertModel(
        transformers.BertConfig(
            **SIZE, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=32, max_position_embeddings=16, attn_implementation="sdpa",
        )
    )  # fmt: skip


def gpt2() -> nn.Module:
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            **SIZE, n_positions=16, n_embd=16, n_layer=3, n_head=2, attn_implementation="sdpa"
        )
    )


def bart() -> nn.Module:
    return transformers.BartModel(
        transformers.BartConfig(
            **SIZE, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
            max_position_embeddings=16, attention_dropout=0.1, attn_implementation="sdpa",
        )
    )  # fmt: skip


def explain(model: nn.Module, inputs: dict[str, Tensor]) -> object:
    """The answer, with the attentions, of the same weights on the model's own eager path."""
    eager = copy.deepcopy(model).eval()
    eager.set_attn_implementation("eager")
    return eager(**inputs, output_attentions=True)


def same(found: Tensor, expected: Tensor, queries: Tensor) -> None:
    """Equal for every layer and head, in the rows of real queries."""
    torch.testing.assert_close(
        found.transpose(1, 2)[queries], expected.transpose(1, 2)[queries], atol=1e-5, rtol=0
    )


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def spread(model: nn.Module) -> nn.Module:
    """With greater weights than at the start, so that attention is not even."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model.eval()


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize(
    ("make", "names"),
    [
        (bert, [f"encoder.layer.{n}.attention.self" for n in range(2)]),
        (gpt2, [f"transformer.h.{n}.attn" for n in range(3)]),
    ],
)
def test_bert_and_gpt2(make: Callable[[], nn.Module], names: list[str], padded: bool) -> None:
    model = spread(make())
    real = IDS != 0 if padded else torch.ones_like(IDS, dtype=torch.bool)
    inputs = {"input_ids": IDS, "attention_mask": real.long()}
    expected, plain = explain(model, inputs), model(**inputs)[0]
    with sl.record(model) as recording:
        output = model(**inputs)[0]
    assert list(recording.attention) == names
    for name, theirs in zip(names, expected.attentions, strict=True):
        same(recording.attention[name], theirs, real)
    torch.testing.assert_close(output, plain, atol=1e-6, rtol=0)


def test_bart() -> None:
    model = spread(bart())
    inputs = {
        "input_ids": IDS, "attention_mask": (IDS != 0).long(),
        "decoder_input_ids": TARGET, "decoder_attention_mask": (TARGET != 0).long(),
    }  # fmt: skip
    expected, plain = explain(model, inputs), model(**inputs)[0]
    with sl.record(model) as recording:
        output = model(**inputs)[0]
    whose = {
        "encoder.layers.{}.self_attn": (expected.encoder_attentions, IDS),
        "decoder.layers.{}.self_attn": (expected.decoder_attentions, TARGET),
        "decoder.layers.{}.encoder_attn": (expected.cross_attentions, TARGET),
    }
    assert len(recording.attention) == 6
    for name, (layers, ids) in whose.items():
        for number, theirs in enumerate(layers):
            same(recording.attention[name.format(number)], theirs, ids != 0)
    torch.testing.assert_close(output, plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [bert, gpt2])
def test_in_training_the_first_layer_is_that_before_dropout(make: Callable[[], nn.Module]) -> None:
    model = spread(make()).train()
    for name, module in model.named_modules():
        if isinstance(module, nn.Dropout):  # in attention alone: the layer's input is to be known
            module.p = 0.5 if name.endswith(("attention.self.dropout", "attn_dropout")) else 0.0
    inputs = {"input_ids": IDS, "attention_mask": (IDS != 0).long()}
    expected = explain(model, inputs)
    torch.manual_seed(1)
    plain = model(**inputs)[0]
    torch.manual_seed(1)
    with sl.record(model) as recording:
        output = model(**inputs)[0]
    assert torch.equal(output, plain)
    same(next(iter(recording.attention.values())), expected.attentions[0], IDS != 0)


def test_gpt2_with_a_cache() -> None:
    model = spread(gpt2())
    expected = explain(model, {"input_ids": IDS[:1]}).attentions
    cache = model(IDS[:1, :4]).past_key_values
    with sl.record(model) as recording:
        model(IDS[:1, 4:5], past_key_values=cache)
    for found, theirs in zip(recording.attention.values(), expected, strict=True):
        torch.testing.assert_close(found, theirs[:, :, 4:5, :5], atol=1e-5, rtol=0)


# torch.nn.Transformer

HEADS = 2


def by_hand(layer: nn.MultiheadAttention, inputs: tuple[Tensor, Tensor], hidden: Tensor) -> Tensor:
    """Vaswani et al. 2017, equation 1, from the layer's own matrices; inputs are batch first."""
    width = layer.embed_dim
    query, key = (
        functional.linear(one, layer.in_proj_weight[part], layer.in_proj_bias[part])
        .unflatten(-1, (HEADS, width // HEADS))
        .transpose(1, 2)
        for one, part in zip(inputs, (slice(0, width), slice(width, 2 * width)), strict=True)
    )
    scores = query @ key.mT / (width // HEADS) ** 0.5
    return scores.masked_fill(hidden, -torch.inf).softmax(-1)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_transformer_of_torch(batch_first: bool, norm_first: bool, training: bool) -> None:
    model = nn.Transformer(
        16, HEADS, 2, 2, 32, dropout=0.3, batch_first=batch_first, norm_first=norm_first
    )
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    model.train(training)
    source, target = torch.randn(3, 6, 16), torch.randn(3, 4, 16)
    padding = IDS == 0
    causal = torch.ones(4, 4, dtype=torch.bool).triu(1)

    def run() -> Tensor:
        turn = (lambda t: t) if batch_first else (lambda t: t.transpose(0, 1))
        return turn(
            model(
                turn(source), turn(target), tgt_mask=causal, tgt_is_causal=True,
                src_key_padding_mask=padding, memory_key_padding_mask=padding,
            )
        )  # fmt: skip

    torch.manual_seed(1)
    plain, after = run(), torch.rand(1)  # in eval by the fast path, nested tensors included
    inputs: dict[str, tuple[Tensor, Tensor]] = {}
    attentions = {n: m for n, m in model.named_modules() if isinstance(m, nn.MultiheadAttention)}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            query, key = (t if batch_first else t.transpose(0, 1) for t in given[:2])
            inputs[name] = query.clone(), key.clone()

        return hook

    hooks = [m.register_forward_pre_hook(keep(n)) for n, m in attentions.items()]
    torch.manual_seed(1)
    with sl.record(model) as recording:
        output = run()
    assert torch.equal(torch.rand(1), after)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(output, plain, atol=2e-6, rtol=1e-6)

    assert list(recording.attention) == list(attentions)
    for name, layer in attentions.items():
        hidden = causal if name.startswith("decoder") else padding[:, None, None]
        hidden = padding[:, None, None] if name.endswith("multihead_attn") else hidden
        found = recording.attention[name]
        torch.testing.assert_close(found, by_hand(layer, inputs[name], hidden), atol=1e-5, rtol=0)


def test_encoder_on_its_fast_path() -> None:
    layer = nn.TransformerEncoderLayer(16, HEADS, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    inputs, padding = torch.randn(3, 6, 16), IDS == 0
    plain = model(inputs, src_key_padding_mask=padding)
    with sl.record(model) as recording:
        output = model(inputs, src_key_padding_mask=padding)
    assert len(recording.attention) == 2
    first = model.layers[0].self_attn
    expected = by_hand(first, (inputs, inputs), padding[:, None, None])
    torch.testing.assert_close(
        recording.attention["layers.0.self_attn"], expected, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(output[~padding], plain[~padding], atol=1e-6, rtol=1e-6)
