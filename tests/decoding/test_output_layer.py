"""The output layer of decoding: logits in parts are the logits, whatever head a module has."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from seqlearn.decoding import BeamSearch, GreedySearch, NextToken, output_layer
from seqlearn.decoding.output_layer import OutputLayer

VECTORS = torch.randn(14, 6, generator=torch.Generator().manual_seed(0))


def head(*, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(6, 2000, bias=bias)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    return layer


@pytest.fixture
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_layer, "LEAST_ROWS", 1)


def test_parts_of_a_large_vocabulary_do_not_become_small() -> None:
    """With 250,000 tokens they had eight rows, and each reads all weights."""
    layer, vectors = OutputLayer(nn.Linear(1, 250_000)), torch.ones(130, 1)
    with torch.no_grad():
        assert [len(part) for part in layer.parts(vectors, 1)] == [64, 64, 2]
        assert [len(part) for part in layer.parts(vectors, 5)] == [60, 60, 10]


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize("bias", [True, False])
def test_parts_are_the_logits(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_layer, "LOGITS_AT_ONCE", 5 * 2000)
    layer = OutputLayer(head(bias=bias))
    with torch.no_grad():
        whole = layer(VECTORS)
        for multiple, sizes in ((1, [5, 5, 4]), (2, [4, 4, 4, 2]), (7, [7, 7])):
            found = [part.clone() for part in layer.parts(VECTORS, multiple)]
            assert [len(part) for part in found] == sizes
            torch.testing.assert_close(torch.cat(found), whole)
            for part in found:
                total = layer.log_sum_exp(part, part.amax(-1))
                torch.testing.assert_close(total, part.logsumexp(-1))


def test_what_a_call_of_the_head_does_is_done() -> None:
    """A subclass, a hook, another precision, autocast and gradients: the head itself is called."""

    class Scaled(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(inputs)

    scaled, hooked = Scaled(6, 9), nn.Linear(6, 9)
    hooked.register_forward_hook(lambda _module, _inputs, output: output + 1)
    for layer in (scaled, hooked, lambda vectors: vectors.repeat(1, 2)):
        with torch.no_grad():
            (found,) = OutputLayer(layer).parts(VECTORS, 1)
            assert torch.equal(found, layer(VECTORS))
    wrapped = nn.Linear(6, 9)
    vars(wrapped)["forward"] = lambda vectors: 3 * nn.Linear.forward(wrapped, vectors)
    every = nn.Linear(6, 9)
    with torch.no_grad():
        (found,) = OutputLayer(wrapped).parts(VECTORS, 1)
        assert torch.equal(found, wrapped(VECTORS))
        handle = nn.modules.module.register_module_forward_hook(lambda _m, _i, output: output + 1)
        (found,) = OutputLayer(every).parts(VECTORS, 1)
        handle.remove()
        assert torch.allclose(found, every(VECTORS) + 1)
    plain = head()
    (found,) = OutputLayer(plain).parts(VECTORS, 1)
    assert found.requires_grad
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (found,) = OutputLayer(plain).parts(VECTORS, 1)
        assert torch.equal(found, plain(VECTORS).float())
    with torch.no_grad():
        (found,) = OutputLayer(plain.bfloat16()).parts(VECTORS.bfloat16(), 1)
    assert found.dtype == torch.float32


@pytest.mark.usefixtures("_small_parts")
def test_searches_find_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding, layer = torch.randn(2000, 6, generator=torch.Generator().manual_seed(2)), head()

    def model(tokens: torch.Tensor, _memory: object, state: object) -> tuple[torch.Tensor, object]:
        return embedding[tokens[:, -1]], state

    prefix = torch.arange(4, 11)[:, None]
    found = []
    for at_once in (2**21, 3 * 2000):
        monkeypatch.setattr(output_layer, "LOGITS_AT_ONCE", at_once)
        for search in (GreedySearch(), BeamSearch(3)):
            next_token = NextToken(model, head=layer)
            found.append(search(next_token, prefix, None, max_new_tokens=4))
    assert found[:2] == found[2:]
    whole = NextToken(lambda *given: (layer(model(*given)[0]).detach(), given[2]))
    assert found[1] == BeamSearch(3)(whole, prefix, None, max_new_tokens=4)


@pytest.mark.usefixtures("_small_parts")
@pytest.mark.parametrize(("number", "kind"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_what_is_no_number_is_named_with_its_row(
    number: float, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_layer, "LOGITS_AT_ONCE", 2 * 2000)
    vectors = VECTORS[:6].clone()
    vectors[4] = number
    layer = head()
    with torch.no_grad():
        layer.weight.abs_()
    for search in (GreedySearch(), BeamSearch(2)):
        next_token = NextToken(lambda *given: (vectors[: len(given[0])], None), head=layer)
        with pytest.raises(ValueError, match=rf"{kind} at decoding step 1 \(row 5 of 6\)"):
            search(next_token, torch.full((6, 1), 2), None, max_new_tokens=3)


def test_the_memory_serves_other_modes_and_sizes() -> None:
    layer, prefix = head(), torch.full((2, 1), 2)

    def made() -> NextToken:
        return NextToken(lambda *given: (VECTORS[: len(given[0])], None), head=layer)

    next_token, scores = made(), torch.zeros(2, 1)
    with torch.inference_mode():
        expected = next_token.continuations(prefix, None, None, scores, 3)[:3]
    with torch.no_grad():
        found = next_token.continuations(prefix, None, None, scores, 3)[:3]
    learning = made().continuations(prefix, None, None, scores, 3)[:3]
    for other in (found, learning):
        for each, same in zip(other, expected, strict=True):
            torch.testing.assert_close(each.detach(), same.clone())
