"""A language model with GPT-2's weights gives GPT-2's logits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import seqlearn as sl

transformers = pytest.importorskip("transformers")

SPEC = sl.SequenceSpec(None, sl.TextSpec(40, 5))
D_MODEL, LAYERS, HEADS, POSITIONS = 16, 3, 4, 16


def gpt2() -> nn.Module:
    """Hugging Face's, with `gelu` as it is defined (GPT-2 itself approximates it by a tanh)."""
    config = transformers.GPT2Config(
        vocab_size=40, n_positions=POSITIONS, n_embd=D_MODEL, n_layer=LAYERS, n_head=HEADS,
        activation_function="gelu", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    theirs = transformers.GPT2LMHeadModel(config).eval()
    for parameter in theirs.parameters():  # biases and norms too, so that nothing passes by luck
        nn.init.normal_(parameter, std=0.3)
    return theirs


def as_seqlearn(theirs: nn.Module) -> sl.Transformer:
    model = sl.Transformer(
        SPEC, d_model=D_MODEL, num_layers=LAYERS, num_heads=HEADS, dropout=0.0, norm="pre",
        positions="learned", activation="gelu", tie_embeddings=True,
    ).eval()  # fmt: skip

    def copy(mine: nn.Linear, conv: nn.Module) -> None:
        mine.weight.data.copy_(conv.weight.T)
        mine.bias.data.copy_(conv.bias)

    body = theirs.transformer
    model.target_embedding.weight.data.copy_(body.wte.weight)
    model.decoder.positions.weight.data.copy_(body.wpe.weight)
    model.head.bias.data.zero_()
    for mine, block in zip(model.decoder.layers, body.h, strict=True):
        copy(mine.self_attention.projection, block.attn.c_attn)
        copy(mine.self_attention.output, block.attn.c_proj)
        copy(mine.feedforward.inner, block.mlp.c_fc)
        copy(mine.feedforward.outer, block.mlp.c_proj)
        mine.norm_self_attention.load_state_dict(block.ln_1.state_dict())
        mine.norm_feedforward.load_state_dict(block.ln_2.state_dict())
    model.decoder.norm.load_state_dict(body.ln_f.state_dict())
    return model


@torch.no_grad()
def test_same_logits_all_at_once_and_token_by_token() -> None:
    theirs = gpt2()
    model = as_seqlearn(theirs)
    tokens = torch.randint(4, 40, (3, POSITIONS))
    expected = theirs(tokens).logits
    torch.testing.assert_close(
        model.head(model.decode(tokens, None)[0]), expected, atol=1e-5, rtol=1e-5
    )
    state, steps, cache = None, [], None
    for token in tokens.split(1, dim=1):
        hidden, state = model.decode(token, None, state)
        steps.append(model.head(hidden))
        answered = theirs(token, past_key_values=cache, use_cache=True)
        cache = answered.past_key_values
        torch.testing.assert_close(steps[-1], answered.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat(steps, 1), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_same_loss_and_greedy_continuation() -> None:
    theirs = gpt2()
    model = as_seqlearn(theirs)
    text = torch.tensor([[2, 7, 9, 30, 12, 3]])
    batch = sl.SequenceBatch(None, None, text, torch.tensor([6]))
    measured = model.compute_loss(batch)
    expected = theirs(text, labels=text).loss
    torch.testing.assert_close(measured.loss / measured.num_tokens, expected, atol=1e-5, rtol=1e-5)
    made = theirs.generate(
        text[:, :3], max_new_tokens=8, do_sample=False, eos_token_id=3, pad_token_id=0,
        suppress_tokens=[0, 1, 2],
    )  # fmt: skip
    (answer,) = model.generate(prompts=[text[0, 1:3].tolist()], max_new_tokens=8)
    assert answer == [token for token in made[0, 1:].tolist() if token != 3]
