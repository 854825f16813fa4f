"""What a user's type checker accepts and refuses; `test_user_types.py` runs mypy on it.

A line that must be an error has a `type: ignore` with its code; mypy reports an unused one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack, assert_type

from torch import Tensor, nn

import seqlearn as sl
from seqlearn.decoding import DecodingStrategy, NextToken
from seqlearn.nn import State


class MyEncoder(nn.Module):
    def __call__(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        return sl.Memory(inputs, mask, inputs.sum(1))


class MyDecoder(nn.Module):
    def __call__(
        self, inputs: Tensor, memory: sl.Memory | None, state: State | None = None
    ) -> tuple[Tensor, State]:
        return inputs, state


class MyModel(sl.SequenceModule):
    def __init__(
        self, spec: sl.SequenceSpec, *, d_model: int = 256, **base: Unpack[sl.BaseOptions]
    ) -> None:
        super().__init__(spec, d_model=d_model, **base)
        self.encoder = MyEncoder()
        self.decoder = MyDecoder()

    def training_step(self, batch: sl.SequenceBatch, batch_idx: int) -> Tensor:
        return super().training_step(batch, batch_idx) + 0.1 * self.compute_loss(batch).loss


class Larger(MyModel):
    def __init__(self, spec: sl.SequenceSpec, **base: Unpack[sl.BaseOptions]) -> None:
        super().__init__(spec, d_model=512, **base)


class Own(sl.Transformer):
    def generate(self, sources: Any = None, **options: Any) -> Any:
        return super().generate(sources, **options)


class First:
    rows_per_source, num_seeds = 1, 0

    def __call__(
        self,
        next_token: NextToken,
        prefix: Tensor,
        memory: sl.Memory | None,
        *,
        max_new_tokens: int,
        seeds: Sequence[Sequence[int]],
    ) -> list[list[list[int]]]:
        return [[[]] for _ in prefix]


def construct(spec: sl.SequenceSpec) -> None:
    options = {"recipe": sl.Recipe(lr=1e-3), "generation": sl.GenerationConfig("beam")}
    model = MyModel(spec, d_model=8, recipe=sl.Recipe(), generation=sl.GenerationConfig())
    assert_type(model, MyModel)
    assert_type(Larger(spec, recipe=None, tie_embeddings=True), Larger)
    assert_type(sl.LSTM(spec, generation=sl.GenerationConfig("beam", beam_size=8)), sl.LSTM)
    assert_type(sl.GRU.load_from_checkpoint("model.ckpt"), sl.GRU)
    assert_type(Larger.from_pretrained("folder"), Larger)
    assert_type(model.recipe, sl.Recipe)
    assert_type(model.generation.beam_size, int)
    MyModel(spec, reciep=sl.Recipe())  # type: ignore[call-arg]
    MyModel(spec, recipe={"lr": 1e-3})  # type: ignore[arg-type]
    sl.Transformer(spec, d_modle=8)  # type: ignore[call-arg]
    sl.GenerationConfig("best")  # type: ignore[arg-type]
    MyModel(spec, **options)  # type: ignore[arg-type]


def infer(model: MyModel, sources: list[str]) -> None:
    strategy: DecodingStrategy = First()
    assert_type(model.generate(sources), list[Any])
    assert_type(model.generate(prompts=sources, strategy="sample", top_p=0.9), list[Any])
    assert_type(model.generate(sources, strategy=strategy), list[Any])
    assert_type(model.generate(sources, num_return_sequences=3), list[list[Any]])
    assert_type(model.generate(sources, return_scores=True), tuple[list[Any], Tensor])
    assert_type(
        model.generate(sources, num_return_sequences=2, return_scores=True),
        tuple[list[list[Any]], Tensor],
    )
    assert_type(model.score(sources, sources), Tensor)
    assert_type(model.score(targets=sources), Tensor)
    assert_type(model.classify(sources), tuple[list[Any], Tensor])
    assert_type(model.predict(sources), list[Any])
    model.predict(prompts=sources)  # type: ignore[call-arg]
    model.generate(sources, strategy="best")  # type: ignore[call-overload]
    model.generate(sources, beam_sise=3)  # type: ignore[call-overload]
    model.score(sources)  # type: ignore[call-overload]


def train(model: MyModel, batch: sl.SequenceBatch) -> None:
    output = model.compute_loss(batch, smoothing=0.1)
    assert_type(output.loss, Tensor)
    assert_type(output.num_tokens, Tensor)
    model.compute_loss(batch, output.state)
    model.compute_loss(batch, None, 0.1)  # type: ignore[call-arg]
