"""Beam search equals Hugging Face's, on the weights of a `Transformer` copied into `MarianMTModel`.

Marian's positions are a table, which takes the sinusoids as the paper lays them out; so the two are
one model, and texts and scores can be compared.
"""

from __future__ import annotations

import copy
import itertools
import random

import pytest
import torch
from torch import nn

import seqlearn as sl
from seqlearn.batch import END, PAD, START, UNKNOWN, SequenceBatch, pad
from seqlearn.decoding import BeamSearch, NextToken, suppressed_tokens
from seqlearn.nn import MultiHeadAttention, sinusoidal

transformers = pytest.importorskip("transformers")

SIZES = {"d_model": 16, "num_layers": 2, "num_heads": 4, "d_feedforward": 24, "dropout": 0.0}
SPEC = sl.SequenceSpec(sl.TextSpec(14, 8), sl.TextSpec(12, 8))
SOURCES = [[4, 5, 6, 7, 8], [9, 10], [11], [12, 13, 4, 4, 4, 6], [7, 7, 7], [5, 13]]
LIMIT = 7
SETTINGS = list(itertools.product([2, 5], [-1.0, 0.0, 1.0, 2.0], [False, True, "never"]))


def copy_attention(theirs: nn.Module, mine: MultiHeadAttention) -> None:
    weights, biases = mine.projection.weight.chunk(3), mine.projection.bias.chunk(3)
    names = ("q_proj", "k_proj", "v_proj")
    for name, weight, bias in zip(names, weights, biases, strict=True):
        getattr(theirs, name).weight.data.copy_(weight)
        getattr(theirs, name).bias.data.copy_(bias)
    theirs.out_proj.load_state_dict(mine.output.state_dict())


def as_marian(model: sl.Transformer) -> nn.Module:
    config = transformers.MarianConfig(
        vocab_size=SPEC.source.vocab_size,
        decoder_vocab_size=SPEC.target.vocab_size,
        share_encoder_decoder_embeddings=False,
        tie_word_embeddings=False,
        max_position_embeddings=32,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        activation_function="relu",
        scale_embedding=True,
        dropout=0.0,
        pad_token_id=PAD,
        eos_token_id=END,
        decoder_start_token_id=START,
        forced_eos_token_id=None,
    )
    theirs = transformers.MarianMTModel(config)
    halves = ((theirs.model.encoder, model.encoder), (theirs.model.decoder, model.decoder))
    for side, half in halves:
        side.embed_positions.weight.data.copy_(sinusoidal(0, 32, 16))
        for layer, mine in zip(side.layers, half.layers, strict=True):
            copy_attention(layer.self_attn, mine.self_attention)
            layer.self_attn_layer_norm.load_state_dict(mine.norm_self_attention.state_dict())
            if hasattr(mine, "cross_attention"):
                copy_attention(layer.encoder_attn, mine.cross_attention)
                layer.encoder_attn_layer_norm.load_state_dict(
                    mine.norm_cross_attention.state_dict()
                )
            layer.fc1.load_state_dict(mine.feedforward.inner.state_dict())
            layer.fc2.load_state_dict(mine.feedforward.outer.state_dict())
            layer.final_layer_norm.load_state_dict(mine.norm_feedforward.state_dict())
    theirs.model.encoder.embed_tokens.load_state_dict(model.source_embedding.state_dict())
    theirs.model.decoder.embed_tokens.load_state_dict(model.target_embedding.state_dict())
    theirs.lm_head.weight.data.copy_(model.head.weight)
    theirs.final_logits_bias.copy_(model.head.bias)
    # Beam search of transformers before 5.17 takes the size of the source vocabulary.
    theirs.config.vocab_size = SPEC.target.vocab_size
    return theirs.eval()


def drawn_parameters(model: sl.Transformer, seed: int, gain: float) -> None:
    """Draw every parameter with Python's generator, which draws the same numbers on every CPU.

    torch's generator and training would not: their rounding depends on the instruction set.
    """
    draw = random.Random(seed)
    for name, parameter in model.named_parameters():
        noise = torch.tensor([draw.gauss() for _ in range(parameter.numel())])
        noise = noise.view_as(parameter)
        if parameter.dim() > 1:
            parameter.data = gain * noise / parameter.shape[-1] ** 0.5
        else:  # biases and norms are not at their defaults, so that nothing passes by luck
            is_scale = "norm" in name and name.endswith("weight")
            parameter.data = float(is_scale) + 0.1 * noise


@pytest.fixture(scope="module")
def models() -> tuple[sl.Transformer, nn.Module]:
    """A model whose beam searches differ by setting; the margins are tested below."""
    model = sl.Transformer(SPEC, **SIZES)
    drawn_parameters(model, seed=14, gain=3.0)
    return model.eval(), as_marian(model)


def test_the_two_are_one_model(models: tuple[sl.Transformer, nn.Module]) -> None:
    model, theirs = models
    source, lengths = pad(SOURCES)
    target, target_lengths = pad([[START, 5, 6, 7, END]] * len(SOURCES))
    with torch.no_grad():
        mine = model(SequenceBatch(source, lengths, target, target_lengths))
        logits = theirs(
            input_ids=source,
            attention_mask=torch.arange(source.shape[1]) < lengths[:, None],
            decoder_input_ids=target[:, :-1],
        ).logits
    torch.testing.assert_close(mine, logits, atol=1e-5, rtol=1e-5)


def search(
    model: sl.Transformer, beam_size: int, length_penalty: float, early_stopping: bool | str
) -> list[list[list[int]]]:
    return model.generate(
        SOURCES,
        strategy="beam",
        beam_size=beam_size,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        num_return_sequences=beam_size,
        max_new_tokens=LIMIT,
    )


def test_the_settings_matter(models: tuple[sl.Transformer, nn.Module]) -> None:
    """Or the comparison below would show nothing."""
    found = {setting: str(search(models[0], *setting)) for setting in SETTINGS}
    assert len({found[5, penalty, False] for penalty in (-1.0, 0.0, 1.0, 2.0)}) == 4
    assert len({found[2, 2.0, stopping] for stopping in (False, True, "never")}) == 3


@pytest.mark.parametrize("seed", range(3))
def test_rounding_changes_no_result(models: tuple[sl.Transformer, nn.Module], seed: int) -> None:
    """Hypotheses are separated by a margin: a hundred times the rounding error changes nothing."""
    changed, draw = copy.deepcopy(models[0]), random.Random(seed)
    for parameter in changed.parameters():
        noise = torch.tensor([draw.gauss() for _ in range(parameter.numel())])
        parameter.data *= 1 + 1e-5 * noise.view_as(parameter)
    for setting in SETTINGS:
        assert search(changed, *setting) == search(models[0], *setting), setting


@pytest.mark.parametrize(("beam_size", "length_penalty", "early_stopping"), SETTINGS)
def test_same_texts_and_scores(
    models: tuple[sl.Transformer, nn.Module],
    beam_size: int,
    length_penalty: float,
    early_stopping: bool | str,
) -> None:
    model, theirs = models
    source, lengths = pad(SOURCES)
    made = theirs.generate(
        input_ids=source,
        attention_mask=torch.arange(source.shape[1]) < lengths[:, None],
        num_beams=beam_size,
        num_return_sequences=beam_size,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        max_new_tokens=LIMIT,
        suppress_tokens=[PAD, START, UNKNOWN],  # training never shows the last
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    their_ids = [[i for i in ids if i not in (PAD, START, END)] for ids in made.sequences.tolist()]

    mine = search(model, beam_size, length_penalty, early_stopping)
    assert [ids for found in mine for ids in found] == their_ids

    def logits(tokens: torch.Tensor, memory: sl.Memory, state: object) -> object:
        hidden, state = model.decode(tokens, memory, state)
        return model.head(hidden[:, -1]), state

    with torch.no_grad():
        memory = model.encode(source, lengths)
    first = torch.full((len(SOURCES), 1), START)
    beam = BeamSearch(beam_size, length_penalty, early_stopping)
    next_token = NextToken(logits, suppress=suppressed_tokens(SPEC.target))
    found = beam.search(next_token, first, memory, max_new_tokens=LIMIT)
    scores = [
        each.log_probability / (len(each.ids) + each.finished) ** length_penalty
        for hypotheses in found
        for each in hypotheses
    ]
    assert [each.ids for hypotheses in found for each in hypotheses] == their_ids
    torch.testing.assert_close(torch.tensor(scores), made.sequences_scores, atol=1e-5, rtol=1e-5)


OPTIONS = [
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 0.7, "min_new_tokens": 3},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 1, "min_new_tokens": 2, "repetition_penalty": 1.2},
    {"min_new_tokens": 6},
]


@pytest.mark.parametrize(("options", "beam_size"), list(itertools.product(OPTIONS, [1, 4])))
def test_same_texts_with_logits_processors(
    models: tuple[sl.Transformer, nn.Module], options: dict[str, float], beam_size: int
) -> None:
    """With a prompt, by greedy and by beam search."""
    model, theirs = models
    source, lengths = pad(SOURCES)
    prompt = [4, 5, 5]
    made = theirs.generate(
        input_ids=source,
        attention_mask=torch.arange(source.shape[1]) < lengths[:, None],
        decoder_input_ids=torch.tensor([[START, *prompt]] * len(SOURCES)),
        num_beams=beam_size,
        max_new_tokens=9,
        suppress_tokens=[PAD, START, UNKNOWN],
        do_sample=False,
        **options,
    )
    strategy = {"strategy": "beam", "beam_size": beam_size} if beam_size > 1 else {}
    given = {"prompts": [prompt] * len(SOURCES), "max_new_tokens": 9} | strategy
    found = model.generate(SOURCES, **given, **options)
    assert found == [[i for i in ids if i not in (PAD, START, END)] for ids in made.tolist()]
    assert found != model.generate(SOURCES, **given)
