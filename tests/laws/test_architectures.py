"""Laws 1 to 5 and 8 of the design, on every architecture and every shape that it serves."""

from __future__ import annotations

import re

import lightning as L
import pytest
import torch
from architectures import (
    LABELS,
    NAMES,
    READS,
    SPECS,
    WRITES,
    Configuration,
    Examples,
    batch_of,
    configurations,
    module_of,
    real_outputs,
    rows_of,
)
from hypothesis import given
from hypothesis import strategies as st
from strategies import SOURCE_VOCAB, TARGET_VOCAB, pairs

import seqlearn as sl
from seqlearn.batch import SequenceBatch, length_mask, pad
from seqlearn.nn import select

# What FeedForward says when a source is cut to its window, which is the case in many examples.
pytestmark = pytest.mark.filterwarnings("ignore:FeedForward reads the last:UserWarning")

CLOSE = {"atol": 1e-9, "rtol": 1e-7}  # of float64, which a normalisation may magnify


@given(
    configurations(shapes=("text to text",)).filter(lambda c: c.name == "AttentionSeq2Seq"), pairs()
)
def test_law_1_attention_weights(configuration: Configuration, examples: Examples) -> None:
    """Not negative, one over the visible states, zero elsewhere; they give the context."""
    model, batch = module_of(configuration), batch_of(configuration, examples)
    contexts: list[torch.Tensor] = []
    combination = model.decoder.combination
    hook = combination.feedforward.register_forward_pre_hook(
        lambda _, args: contexts.append(args[0][..., : model.d_model])
    )
    with torch.no_grad(), sl.record(model) as recording:
        memory = model.encode(batch.source, batch.source_lengths)
        model.decode(batch.target, memory)
    hook.remove()
    (weights,) = recording.attention.values()
    seen = memory.mask[:, None, None].expand_as(weights)
    assert (weights >= 0).all()
    assert (weights[~seen] == 0).all()
    torch.testing.assert_close(weights.sum(-1), seen.any(-1).to(weights.dtype), **CLOSE)
    torch.testing.assert_close(weights[:, 0] @ memory.states, torch.cat(contexts, 1), **CLOSE)


@given(configurations(), pairs())
def test_law_2_shapes_follow(configuration: Configuration, examples: Examples) -> None:
    """Any length, zero and one included; empty sources too."""
    model, batch = module_of(configuration), batch_of(configuration, examples)
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_lengths)
        outputs = model(batch)
    size = len(examples)
    if batch.source is None:
        assert memory is None
    else:
        time = batch.source.shape[1] if configuration.shape.startswith("text") else 1
        time = 1 if configuration.name == "FeedForward" else time
        assert memory.states.shape == (size, time, model.d_model)
        assert memory.mask.shape == (size, time)
        assert memory.summary.shape == (size, model.d_model)
    if batch.source_lengths is not None:
        assert (memory.summary[batch.source_lengths == 0] == 0).all()
        assert (memory.mask.any(1) == (batch.source_lengths > 0)).all()
    widths = {"text": (batch.target.shape[1] - 1, TARGET_VOCAB)} if batch.target.ndim == 2 else {}
    widths |= {"class": (len(LABELS),), "vector": (2,)}
    assert outputs.shape == (size, *widths[configuration.shape.split(" to ")[1]])
    assert outputs.isfinite().all()
    if configuration.shape in WRITES:
        none, state = model.decode(batch.target[:, :0], memory)
        assert none.shape == (size, 0, model.d_model)
        after, _ = model.decode(batch.target, memory, state)
        torch.testing.assert_close(after, model.decode(batch.target, memory)[0], **CLOSE)


@given(configurations(), pairs(), st.integers(0, 4), st.integers(0, 4))
def test_law_3_padding_and_garbage_change_nothing(
    configuration: Configuration, examples: Examples, more: int, later: int
) -> None:
    """More padding, and random ids in it, on both sides."""
    model, batch = module_of(configuration), batch_of(configuration, examples)

    def widen(ids: torch.Tensor, lengths: torch.Tensor, extra: int, vocab: int) -> torch.Tensor:
        garbage = torch.randint(vocab, (ids.shape[0], ids.shape[1] + extra))
        garbage[length_mask(lengths, garbage.shape[1])] = ids[length_mask(lengths, ids.shape[1])]
        return garbage

    padded = batch
    if batch.source_lengths is not None:
        wide = widen(batch.source, batch.source_lengths, more, SOURCE_VOCAB)
        padded = padded._replace(source=wide)
    if batch.target_lengths is not None:
        wide = widen(batch.target, batch.target_lengths, later, TARGET_VOCAB)
        padded = padded._replace(target=wide)
    with torch.no_grad():
        one, other = model(batch), model(padded)
        loss, padded_loss = model.measure(batch), model.measure(padded)
    torch.testing.assert_close(real_outputs(batch, other), real_outputs(batch, one), **CLOSE)
    torch.testing.assert_close(padded_loss.loss, loss.loss, **CLOSE)
    # START may stand within a target too, and is predicted nowhere.
    assert padded_loss.total == loss.total


@given(configurations(), pairs(min_size=2))
def test_law_3_order_and_company_change_nothing(
    configuration: Configuration, examples: Examples
) -> None:
    """Each example alone, and all in another order, give what the batch gives."""
    model, batch = module_of(configuration), batch_of(configuration, examples)
    with torch.no_grad():
        together = model(batch)
        order = torch.randperm(len(examples))
        moved = model(rows_of(batch, order.tolist()))
        torch.testing.assert_close(moved, together[order], **CLOSE)
        for row, example in enumerate(examples):
            one = batch_of(configuration, [example])
            outputs = together[row : row + 1]
            alone = model(one)
            expected = real_outputs(one, outputs).view_as(alone)
            torch.testing.assert_close(alone, expected, **CLOSE)


@given(configurations(shapes=WRITES, dropout=0.0), pairs(), st.data())
def test_law_4_no_output_depends_on_later_tokens(
    configuration: Configuration, examples: Examples, data: st.DataObject
) -> None:
    """By gradient, in training mode and under bf16 too."""
    # In single precision: the fused kernels that training runs on.
    model, batch = module_of(configuration).float(), batch_of(configuration, examples)
    if configuration.shape == "vector to text":
        batch = batch._replace(source=batch.source.float())
    model.train(data.draw(st.booleans(), label="training"))
    inputs = model.target_embedding(batch.target).detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=data.draw(st.booleans(), label="bf16")):
        outputs, _ = model.decoder(inputs, model.encode(batch.source, batch.source_lengths))
    step = data.draw(st.integers(0, inputs.shape[1] - 1), label="step")
    row = data.draw(st.integers(0, inputs.shape[0] - 1), label="row")
    weights = torch.randn(model.d_model)
    (gradient,) = torch.autograd.grad((outputs[row, step].float() * weights).sum(), inputs)
    assert (gradient[:, step + 1 :] == 0).all()
    assert (gradient[torch.arange(len(examples)) != row] == 0).all()


@given(configurations(shapes=READS), pairs(min_size=2), st.data())
def test_law_4_no_output_depends_on_another_source(
    configuration: Configuration, examples: Examples, data: st.DataObject
) -> None:
    """By gradient: a source's embedding moves its own outputs alone, and only where it is real."""
    model, batch = module_of(configuration), batch_of(configuration, examples)
    embedded = model.source_embedding(batch.source).detach().requires_grad_()
    memory = model.encoder(embedded, length_mask(batch.source_lengths, embedded.shape[1]))
    outputs = memory.summary
    if configuration.shape == "text to text":
        outputs, _ = model.decode(batch.target, memory)
    row = data.draw(st.integers(0, len(examples) - 1), label="row")
    total = (outputs[row] * torch.randn_like(outputs[row])).sum()
    (gradient,) = torch.autograd.grad(total, embedded)
    assert (gradient[torch.arange(len(examples)) != row] == 0).all()
    assert (gradient[row, batch.source_lengths[row] :] == 0).all()


@given(configurations(shapes=WRITES), pairs(), st.data())
def test_law_5_in_parts_equals_all_at_once(
    configuration: Configuration, examples: Examples, data: st.DataObject
) -> None:
    """One token at a time, or in any parts, while rows move about and come more than once."""
    model, batch = module_of(configuration), batch_of(configuration, examples)
    longest = data.draw(st.sampled_from([1, 3]), label="longest part")
    tokens, start, state = batch.target, 0, None
    with torch.no_grad():
        memory = model.encode(batch.source, batch.source_lengths)
        whole, _ = model.decode(tokens, memory)
        while start < tokens.shape[1]:
            size = data.draw(st.integers(1, longest), label="tokens")
            part, state = model.decode(tokens[:, start : start + size], memory, state)
            torch.testing.assert_close(part, whole[:, start : start + size], **CLOSE)
            start += size
            if data.draw(st.booleans(), label="move"):
                rows = torch.randint(len(tokens), (data.draw(st.integers(1, 4), label="rows"),))
                state, memory = select(state, rows), select(memory, rows)
                tokens, whole = tokens[rows], whole[rows]


@given(
    configurations(shapes=WRITES),
    st.lists(st.lists(st.integers(4, TARGET_VOCAB - 1), max_size=4), max_size=3),
)
def test_law_5_cached_generation_equals_uncached(
    configuration: Configuration, texts: list[list[int]]
) -> None:
    """Compared up to where the two best tokens are nearly tied."""
    model = module_of(configuration)
    kind = configuration.shape.split(" to ")[0]
    given = {
        "text": {"sources": texts},
        "vector": {"sources": [[float(len(ids)), 0.5, -1.0] for ids in texts]},
        "nothing": {"prompts": texts},
    }[kind]
    answers = model.generate(**given, max_length=4)
    assert len(answers) == len(texts)
    for number, answer in enumerate(answers):
        source, lengths, tokens = None, None, [2]
        if kind == "text":
            source, lengths = pad([texts[number]])
        elif kind == "vector":
            source = torch.tensor([given["sources"][number]]).double()
        else:
            tokens += texts[number]
            assert answer[: len(texts[number])] == texts[number]
        for _ in range(4):
            with torch.no_grad():
                memory = model.encode(source, lengths)
                logits = model.head(model.decode(torch.tensor([tokens]), memory)[0][0, -1])
            logits[[0, 2]] = -torch.inf
            best = logits.topk(2)
            if best.values[0] - best.values[1] < 1e-8:
                break
            if best.indices[0] == 3:
                assert answer == [token for token in tokens if token > 3 or token == 1]
                break
            tokens.append(int(best.indices[0]))
            assert answer[: len(tokens) - 1] == [t for t in tokens if t > 3 or t == 1]


# Zero by mathematics where the source is a vector: of one state the weight is one whatever the
# score, and so whatever the query; the only step multiplies the weights of the state by zeros.
ZERO_FROM_A_VECTOR = r"combination\.attention\.|norm_cross|^encoder\..*kernel\.weight_hh"
RICH = [
    ([4, 5, 6, 7, 8, 9, 10], [4, 5, 6, 7, 8]),
    ([9, 4, 4], [8, 7, 4, 1]),
    ([7], [5]),
    ([], []),
]


@pytest.fixture(scope="module")
def trainer() -> L.Trainer:
    return L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)


# Of two numbers a normalisation leaves the sign, which all units of a ReLU may be blind to.
@given(configuration=configurations(widths=(4, 6), dropout=0.0))
def test_law_8_every_parameter_in_use_gets_a_finite_gradient(
    trainer: L.Trainer, configuration: Configuration
) -> None:
    """After `setup`, which switches off the half that the shape does not use."""
    model = module_of(configuration).train()
    model.trainer = trainer
    model.setup("fit")
    model.measure(batch_of(configuration, RICH)).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        if parameter.grad is None:
            continue
        assert parameter.grad.isfinite().all(), name
        if configuration.shape != "vector to text" or not re.search(ZERO_FROM_A_VECTOR, name):
            assert (parameter.grad != 0).any(), name
    used = {"encoder": model.spec.source is not None, "decoder": configuration.shape in WRITES}
    for half, use in used.items():
        assert any(p.requires_grad for p in getattr(model, half).parameters()) == use


@given(
    configuration=configurations(), kind=st.sampled_from(["empty texts", "repeats", "ended lanes"])
)
def test_law_8_no_batch_leaves_another_rank_waiting(
    trainer: L.Trainer, configuration: Configuration, kind: str
) -> None:
    """Nothing to read, to count or to predict: gradients of zero are gradients too."""
    model = module_of(configuration).train()
    model.trainer = trainer
    model.setup("fit")
    batch = batch_of(configuration, [([], []), ([], [])] if kind == "empty texts" else RICH)
    if kind == "repeats":
        batch = batch._replace(rows=torch.tensor([~0, ~1, ~2, ~3]))
    if kind == "ended lanes" and configuration.shape == "nothing to text":
        batch = batch._replace(target=batch.target[:, :1], target_lengths=torch.ones(4).long())
    model.measure(batch).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SPECS)
def test_each_architecture_serves_each_shape_but_one(name: str, shape: str) -> None:
    """So that no strategy leaves one out unseen."""
    if (name, shape) == ("AttentionSeq2Seq", "nothing to text"):
        with pytest.raises(ValueError, match="take RNN, GRU, LSTM, FeedForward or Transformer"):
            sl.AttentionSeq2Seq(SPECS[shape])
        return
    configuration = Configuration(name, shape, 0, {"d_model": 4})
    model = module_of(configuration)
    batch: SequenceBatch = batch_of(configuration, RICH)
    assert model.measure(batch).loss.isfinite()
    assert len(model.predict_step(batch, 0)) == len(RICH)
