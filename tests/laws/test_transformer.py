"""Laws 1 to 5 of the design, on the Transformer, over random configurations and batches."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    SOURCE_VOCAB,
    TARGET_VOCAB,
    batch_of,
    collate,
    configurations,
    pairs,
    sources_of,
    target_mask,
    transformer,
)

import seqlearn as sl
from seqlearn.batch import SequenceBatch, causal_mask, length_mask, pad

Examples = list[tuple[list[int], list[int]]]
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


@given(configurations(), pairs())
def test_law_1_attention_weights(configuration: dict[str, object], examples: Examples) -> None:
    """Not negative, one over the visible keys, zero elsewhere."""
    model, batch = transformer(configuration), collate(examples)
    with torch.no_grad(), sl.record(model) as recording:
        model(batch)
    queries = batch.target.shape[1] - 1
    source = length_mask(batch.source_lengths, batch.source.shape[1])[:, None, None]
    visible = {
        "encoder.attention": source,
        "decoder.attention": causal_mask(queries, queries)[None, None],
        "decoder.cross": source,
    }
    assert len(recording.attention) == 3 * model.hparams.num_layers
    for name, weights in recording.attention.items():
        half, _, _, kind = name.split(".")
        seen = visible[f"{half}.{kind}"].expand_as(weights)
        assert (weights >= 0).all()
        assert (weights[~seen] == 0).all()
        torch.testing.assert_close(weights.sum(-1), seen.any(-1).to(weights.dtype), **CLOSE)


@given(configurations(), pairs())
def test_law_1_weights_times_values_is_the_output(
    configuration: dict[str, object], examples: Examples
) -> None:
    """What is recorded is what the kernel used: it gives the kernel's output."""
    model, batch = transformer(configuration), collate(examples)
    seen: dict[str, torch.Tensor] = {}
    layer = model.decoder.layers[0].cross
    hook = layer.output.register_forward_pre_hook(lambda _, args: seen.update(output=args[0]))
    with torch.no_grad(), sl.record(model) as recording:
        memory = model.encode(batch.source, batch.source_lengths)
        model.decode(batch.target, memory)
        value = layer.read(memory.states).value
    hook.remove()
    made = (recording.attention["decoder.layers.0.cross"] @ value).transpose(1, 2).flatten(2)
    torch.testing.assert_close(made, seen["output"], **CLOSE)


@given(configurations(), pairs())
def test_law_2_shapes_follow(configuration: dict[str, object], examples: Examples) -> None:
    """Any length, zero and one included; empty sources too."""
    model, batch = transformer(configuration), collate(examples)
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_lengths)
        logits = model(batch)
    size, d_model = batch.source.shape[0], model.d_model
    assert memory.states.shape == (size, batch.source.shape[1], d_model)
    assert memory.summary.shape == (size, d_model)
    assert logits.shape == (size, batch.target.shape[1] - 1, TARGET_VOCAB)
    assert logits.isfinite().all()
    assert (memory.summary[batch.source_lengths == 0] == 0).all()


@given(configurations(), pairs(), st.integers(0, 5), st.integers(0, 5))
def test_law_3_padding_and_garbage_change_nothing(
    configuration: dict[str, object], examples: Examples, more: int, later: int
) -> None:
    """More padding, and random ids in it, on both sides."""
    model, batch = transformer(configuration), collate(examples)

    def widen(ids: torch.Tensor, lengths: torch.Tensor, extra: int, vocab: int) -> torch.Tensor:
        garbage = torch.randint(vocab, (ids.shape[0], ids.shape[1] + extra))
        real = length_mask(lengths, garbage.shape[1])
        garbage[real] = ids[length_mask(lengths, ids.shape[1])]
        return garbage

    padded = batch._replace(
        source=widen(batch.source, batch.source_lengths, more, SOURCE_VOCAB),
        target=widen(batch.target, batch.target_lengths, later, TARGET_VOCAB),
    )
    with torch.no_grad():
        one, other = model(batch), model(padded)
        loss, padded_loss = model.measure(batch).loss, model.measure(padded).loss
    mask = target_mask(batch)
    torch.testing.assert_close(other[:, : mask.shape[1]][mask], one[mask], **CLOSE)
    torch.testing.assert_close(padded_loss, loss, **CLOSE)


@given(configurations(), pairs(min_size=2))
def test_law_3_order_and_company_change_nothing(
    configuration: dict[str, object], examples: Examples
) -> None:
    """Each example alone, and all in another order, give what the batch gives."""
    model, batch = transformer(configuration), collate(examples)
    with torch.no_grad():
        together = model(batch)
        order = torch.randperm(batch.size)
        moved = model(SequenceBatch(*(part[order] for part in batch[:4])))
        torch.testing.assert_close(moved, together[order], **CLOSE)
        for row, source in enumerate(sources_of(batch)):
            target = batch.target[row, 1 : batch.target_lengths[row] - 1].tolist()
            alone = model(batch_of([source], [target]))
            torch.testing.assert_close(alone[0], together[row, : len(target) + 1], **CLOSE)


@given(configurations(), pairs(), st.data())
def test_law_4_no_output_depends_on_later_tokens(
    configuration: dict[str, object], examples: Examples, data: st.DataObject
) -> None:
    """By gradient, in training mode too (its dropout is off, so that only the path counts)."""
    model, batch = transformer(configuration), collate(examples)
    for part in model.modules():
        if isinstance(part, sl.nn.Dropout | sl.nn.MultiHeadAttention):
            part.probability = part.dropout = 0.0
    model.train(data.draw(st.booleans(), label="training"))
    inputs = model.target_embedding(batch.target).detach().requires_grad_()
    memory = model.encode(batch.source, batch.source_lengths)
    outputs, _ = model.decoder(inputs, memory)
    step = data.draw(st.integers(0, inputs.shape[1] - 1), label="step")
    row = data.draw(st.integers(0, inputs.shape[0] - 1), label="row")
    weights = torch.randn(model.d_model)
    (gradient,) = torch.autograd.grad((outputs[row, step] * weights).sum(), inputs)
    assert (gradient[:, step + 1 :] == 0).all()
    assert (gradient[torch.arange(inputs.shape[0]) != row] == 0).all()


@given(configurations(), pairs(min_size=2), st.data())
def test_law_4_no_output_depends_on_another_source(
    configuration: dict[str, object], examples: Examples, data: st.DataObject
) -> None:
    """By gradient: a source's embedding moves its own outputs alone."""
    model, batch = transformer(configuration), collate(examples)
    embedded = model.source_embedding(batch.source).detach().requires_grad_()
    mask = length_mask(batch.source_lengths, embedded.shape[1])
    outputs, _ = model.decoder(model.target_embedding(batch.target), model.encoder(embedded, mask))
    row = data.draw(st.integers(0, batch.size - 1), label="row")
    (gradient,) = torch.autograd.grad(
        (outputs[row] * torch.randn_like(outputs[row])).sum(), embedded
    )
    assert (gradient[torch.arange(batch.size) != row] == 0).all()
    assert (gradient[row][~mask[row]] == 0).all()


@given(configurations(), pairs(), st.data())
def test_law_5_one_token_at_a_time_equals_all_at_once(
    configuration: dict[str, object], examples: Examples, data: st.DataObject
) -> None:
    """In parts of any sizes, each with the state of the one before."""
    model, batch = transformer(configuration), collate(examples)
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_lengths)
        whole, _ = model.decode(batch.target, memory)
        parts, state, start = [], None, 0
        while start < batch.target.shape[1]:
            size = data.draw(st.integers(1, 3), label="tokens")
            part, state = model.decode(batch.target[:, start : start + size], memory, state)
            parts.append(part)
            start += size
    torch.testing.assert_close(torch.cat(parts, 1), whole, **CLOSE)


@given(
    configurations(), st.lists(st.lists(st.integers(4, SOURCE_VOCAB - 1), max_size=6), max_size=5)
)
def test_law_5_cached_generation_equals_uncached(
    configuration: dict[str, object], sources: list[list[int]]
) -> None:
    """Compared up to where the two best tokens are nearly tied."""
    model = transformer(configuration)
    for source, answer in zip(sources, model.generate(sources, max_length=5), strict=True):
        memory = model.encode(*pad([source]))
        tokens = [2]
        for _ in range(5):
            with torch.no_grad():
                logits = model.head(model.decode(torch.tensor([tokens]), memory)[0][0, -1])
            logits[[0, 2]] = -torch.inf
            best = logits.topk(2)
            if best.values[0] - best.values[1] < 1e-4:
                break
            if best.indices[0] == 3:
                assert answer == tokens[1:]
                break
            tokens.append(int(best.indices[0]))
            assert answer[: len(tokens) - 1] == tokens[1:]
