"""For each law a module that violates it through a typical mistake.

Each is a small module of the library with one method that is wrong. `BROKEN` names the law that
must find it, and those that may be broken as well because they follow from the mistake.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import seqlearn as sl
from seqlearn.batch import length_mask
from seqlearn.core.loss_output import LossOutput
from seqlearn.instrumentation import emit
from seqlearn.testing import TASKS

Module = type[sl.SequenceModule]
TEXT, CLASS, TEXT_TARGET = (
    "sequence-to-sequence",
    "sequence-to-vector (classes)",
    ("sequence-to-sequence", "language-modeling"),
)


class Broken(NamedTuple):
    """A module that violates a law.

    Attributes:
        module: The class.
        law: The law that must find it.
        follows: The laws that it may break too.
        tasks: On which it is tried.
    """

    module: Module
    law: str
    follows: frozenset[str]
    tasks: tuple[str, ...]

    def __call__(self, spec: sl.SequenceSpec) -> sl.SequenceModule:
        """Build it, for its tasks."""
        if spec not in [TASKS[task] for task in self.tasks]:
            raise ValueError(f"serves {', '.join(self.tasks)} only")
        return self.module(spec)


BROKEN: dict[str, Broken] = {}


def breaks(law: str, *follows: str, tasks: tuple[str, ...] = (TEXT,)) -> Callable[[Module], Module]:
    """Add a class to `BROKEN`."""

    def enter(module: Module) -> Module:
        BROKEN[module.__name__] = Broken(module, law, frozenset(follows), tasks)
        return module

    return enter


class Small(sl.GRU):
    """The base of the broken modules."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=6, num_layers=1, dropout=0.0)


class SmallTransformer(sl.Transformer):
    """The base of those that need attention."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8, num_layers=1, num_heads=2, dropout=0.0)


# The laws of generation that a decoder violates whose steps differ from its parallel pass.
STEPWISE = (
    "cached equals uncached",
    "scores",
    "exhaustive beam",
    "batch-invariant generation",
    "beam 1 equals greedy",
)

# The laws that a module violates whose outputs depend on padding.
PADDED = ("padding", "batch invariance", "batch-invariant generation", "no cross-example gradient")
PADDED += ("cached equals uncached", "sampling", "scores")

# 1: attention


@breaks("attention weights")
class SoftmaxOverTheWrongAxis(Small):
    def encode(self, source: Any, source_lengths: Any) -> Any:
        memory = super().encode(source, source_lengths)
        scores = memory.states @ memory.states.mT
        scores = scores.masked_fill(~memory.mask[:, None], -1e9)
        sl.probe("self", scores.softmax(1)[:, None])  # over the queries
        return memory


@breaks("attention weights", *PADDED)
class MaskForgottenByTheDecoder(SmallTransformer):
    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        return super().decode(tokens, memory._replace(mask=torch.ones_like(memory.mask)), state)


def louder(_part: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    """The output is not the weighted sum of the values."""
    return 1.1 * output


@breaks("attention output")
class OutputOfOtherWeights(sl.AttentionSeq2Seq):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=6, num_layers=1, dropout=0.0)
        self.decoder.attentional_hidden.attention.register_forward_hook(louder)


# 2: shapes


@breaks("shapes")
class PooledOfAnEmptySource(Small):
    def encode(self, source: Any, source_lengths: Any) -> Any:
        memory = super().encode(source, source_lengths)
        return memory._replace(pooled=memory.pooled + 1)


@breaks(
    "shapes",
    *(
        "padding",
        "batch invariance",
        "no cross-example gradient",
        "gradients",
        "loss additivity",
        "distributed and accumulation equivalence",
        "recording",
    ),
    *(
        "copy and pickle",
        "bf16",
        "compiled",
        "initial loss",
        "train and eval mode",
        "overfit a small batch",
        "checkpoint round trip",
        "resumed",
    ),
    tasks=(CLASS,),
)
class MeanOfNoWords(Small):
    def encode(self, source: Any, source_lengths: Any) -> Any:
        memory = super().encode(source, source_lengths)
        real = memory.mask[..., None]
        mean = (memory.states * real).sum(1) / real.sum(1)  # 0 / 0 for an empty source
        return memory._replace(pooled=mean)


@breaks("empty target")
class AnEmptyTargetCounts(Small):
    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        if tokens.shape[1] == 0:
            _, state = super().decode(
                torch.zeros_like(tokens[:, :0]).new_zeros(len(tokens), 1), memory
            )
            return super().decode(tokens, memory, state)
        return super().decode(tokens, memory, state)


# 3: padding and batch invariance


@breaks(*PADDED, "attention weights")
class MaskForgottenByTheEncoder(SmallTransformer):
    def encode(self, source: Any, source_lengths: Any) -> Any:
        memory = super().encode(source, torch.full_like(source_lengths, source.shape[1]))
        mask = length_mask(source_lengths, memory.mask.shape[1])
        pooled = memory.pooled * mask.any(1, keepdim=True)
        return memory._replace(mask=mask, pooled=pooled)


@breaks(*PADDED)
class PaddedBackwardDirection(Small):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec)
        self.backward_layer = nn.GRU(self.d_model, self.d_model, batch_first=True)

    def encode(self, source: Any, source_lengths: Any) -> Any:
        memory = super().encode(source, source_lengths)
        _, last = self.backward_layer(memory.states.flip(1))  # padding first
        return memory._replace(pooled=memory.pooled + last[0] * memory.mask.any(1, keepdim=True))


@breaks(
    "padding",
    "batch invariance",
    "batch-invariant generation",
    "cached equals uncached",
    "sampling",
    "scores",
)
class PositionsCountedFromThePadding(Small):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec)
        self.positions = nn.Embedding(16, self.d_model)

    def encode(self, source: Any, source_lengths: Any) -> Any:
        from_the_end = torch.arange(source.shape[1]).flip(0)
        inputs = self.source_embedding(source) + self.positions(from_the_end)
        memory = self.encoder(inputs, length_mask(source_lengths, source.shape[1]))
        # So that the positions have a gradient even without tokens.
        return memory._replace(pooled=memory.pooled + 0 * self.positions.weight.sum())


@breaks(
    "padding", "batch invariance", "loss additivity", "distributed and accumulation equivalence"
)
class PaddingCountsInTheLoss(Small):
    def compute_loss(
        self, batch: sl.SequenceBatch, state: Any = None, *, smoothing: float = 0.0
    ) -> LossOutput:
        lengths = torch.full_like(batch.target_lengths, batch.target.shape[1])
        batch = batch._replace(target_lengths=lengths)
        return super().compute_loss(batch, state, smoothing=smoothing)


@breaks(
    "batch invariance",
    *(
        "batch-invariant generation",
        "no cross-example gradient",
        "loss additivity",
        "distributed and accumulation equivalence",
        "cached equals uncached",
        "scores",
    ),
    *("exhaustive beam", "beam 1 equals greedy", "sampling", "incremental decoding"),
)
class MeanOverTheBatch(Small):
    def encode(self, source: Any, source_lengths: Any) -> Any:
        memory = super().encode(source, source_lengths)
        mean = memory.pooled.mean(0, keepdim=True)  # as a batch normalisation does
        return memory._replace(pooled=(memory.pooled - mean) * memory.mask.any(1, keepdim=True))


@breaks(
    "batch-invariant generation",
    "sampling",
    "cached equals uncached",
    "beam 1 equals greedy",
    "scores",
    "end of sequence",
)
class AnswersInTheOrderOfWork(Small):
    def generate(self, sources: Any = None, **options: Any) -> Any:
        found = super().generate(sources, **options)
        if isinstance(found, tuple):
            return found
        return sorted(found, key=lambda answer: (len(answer), str(answer)))


# 4: causality


@breaks(
    *(
        "causality",
        "causality by gradient",
        "incremental decoding",
        *STEPWISE,
        "padding",
        "batch invariance",
    ),
    tasks=TEXT_TARGET,
)
class TargetNotShifted(Small):
    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        shifted = torch.cat([tokens[:, 1:], tokens[:, -1:]], 1)  # reads the token that it predicts
        return super().decode(shifted, memory, state)


@breaks("causality", "causality by gradient")
class LooksAheadInTraining(Small):
    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        answers, state = super().decode(tokens, memory, state)
        if self.training:
            answers = answers + self.target_embedding(tokens).mean(1, keepdim=True)
        return answers, state


@breaks("causality by gradient")
class LearnsFromTheFuture(Small):
    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        answers, state = super().decode(tokens, memory, state)
        later = self.target_embedding(tokens).sum(1, keepdim=True)
        return answers + (later - later.detach()), state


@breaks("no cross-example gradient", "distributed and accumulation equivalence")
class LearnsFromTheNeighbours(Small):
    def encode(self, source: Any, source_lengths: Any) -> Any:
        memory = super().encode(source, source_lengths)
        mean = memory.pooled.mean(0, keepdim=True)
        return memory._replace(pooled=memory.pooled + (mean - mean.detach()))


# 5: incremental decoding


@breaks("incremental decoding", "empty target", *STEPWISE, tasks=TEXT_TARGET)
class CacheOffByOne(Small):
    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        answers, after = super().decode(tokens, memory, state)
        if tokens.shape[1] > 1:
            _, after = super().decode(tokens[:, :-1], memory, state)
        return answers, after


@breaks("cached equals uncached", "end of sequence", "beam 1 equals greedy")
class GreedyDropsTheLastToken(Small):
    def generate(self, sources: Any = None, **options: Any) -> Any:
        found = super().generate(sources, **options)
        if options.get("strategy", "greedy") != "greedy" or isinstance(found, tuple):
            return found
        return [answer[:-1] for answer in found]


# 6: decoding


@breaks("beam 1 equals greedy", "exhaustive beam", "end of sequence")
class BeamStopsEarly(Small):
    def generate(self, sources: Any = None, **options: Any) -> Any:
        if options.get("strategy") == "beam":
            options["max_new_tokens"] = max(1, options["max_new_tokens"] - 1)
        return super().generate(sources, **options)


class Rigid:
    """A state that is not reordered."""

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def select(self, rows: Tensor) -> Rigid:
        """Keep the rows where they are; change only their number."""
        return Rigid(self.inner[torch.arange(len(rows)) % len(self.inner)])


@breaks("exhaustive beam", "incremental decoding", *STEPWISE)
class StateNotReordered(Small):
    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        given = None if state is None else [(state.inner,)]
        answers, after = super().decode(tokens, memory, given)
        return answers, Rigid(after[0][0])


@breaks("exhaustive beam")
class NoLengthPenalty(Small):
    def generate(self, sources: Any = None, **options: Any) -> Any:
        if options.get("strategy") == "beam":
            options["length_penalty"] = 0.0
        return super().generate(sources, **options)


@breaks("scores")
class ScoreWithoutTheEnd(Small):
    def score(self, sources: Any, targets: Any) -> Any:
        return super().score(sources, targets) * 0.9


@breaks("sampling")
class DrawsFromItsOwnGenerator(Small):
    def generate(self, sources: Any = None, **options: Any) -> Any:
        options.pop("generator", None)
        return super().generate(sources, **options)


@breaks("end of sequence", "cached equals uncached", "exhaustive beam")
class OneTokenTooMany(Small):
    def generate(self, sources: Any = None, **options: Any) -> Any:
        options["max_new_tokens"] += 1
        return super().generate(sources, **options)


# 7: side effects, copies, other kernels


@breaks("recording")
class DrawsWhenLookedAt(Small):
    def encode(self, source: Any, source_lengths: Any) -> Any:
        memory = super().encode(source, source_lengths)
        # Computed only while recording, and it draws a random number.
        emit("states", "noisy", lambda: memory.states + 0 * torch.rand(1))
        return memory


@breaks("train and eval mode")
class StaysInEval(Small):
    def generate(self, sources: Any = None, **options: Any) -> Any:
        self.eval()
        return super().generate(sources, **options)


@breaks("copy and pickle")
class HoldsALambda(Small):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec)
        self.scale = lambda answers: answers

    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        answers, state = super().decode(tokens, memory, state)
        return self.scale(answers), state


@breaks("bf16")
class CancelsLargeNumbers(Small):
    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        answers, state = super().decode(tokens, memory, state)
        if torch.is_autocast_enabled("cpu"):
            answers = answers.bfloat16()
        return (answers + 300) - 300, state


@breaks("compiled")
class OtherwiseWhenCompiled(Small):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec)
        self.decoder = Doubling(self.decoder)


class Doubling(nn.Module):
    """A decoder that computes something else under a compiler."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Any, memory: Any, state: Any = None) -> Any:
        """Compute the outputs; twice as large when compiled."""
        answers, state = self.inner(inputs, memory, state)
        return (2 * answers if torch.compiler.is_compiling() else answers), state


# 8: learning


@breaks("gradients")
class AParameterLeftOut(Small):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec)
        self.forgotten = nn.Linear(2, 2)


@breaks("loss additivity", "distributed and accumulation equivalence", "initial loss")
class MeanOfMeans(Small):
    def compute_loss(
        self, batch: sl.SequenceBatch, state: Any = None, *, smoothing: float = 0.0
    ) -> LossOutput:
        measured = super().compute_loss(batch, state, smoothing=smoothing)
        return measured._replace(loss=measured.loss / measured.num_tokens.clamp(min=1))


@breaks("overfit a small batch", "gradients")
class DoesNotSeeTheSource(Small):
    def encode(self, source: Any, source_lengths: Any) -> Any:
        memory = super().encode(source, source_lengths)
        return memory._replace(pooled=torch.zeros_like(memory.pooled))


@breaks("overfit a small batch")
class ReadsABagOfTokens(Small):
    """[4, 5] and [5, 4] are the same bag of tokens: two of eleven targets are a guess."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec)
        self.encoder = Bag(self.d_model)


class Bag(nn.Module):
    """The mean of the tokens, in any order."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.mix = nn.Linear(d_model, d_model)

    def forward(self, inputs: Any, mask: Any) -> sl.Memory:
        states = self.mix(4 * inputs).tanh() * mask[..., None]
        return sl.Memory(states, mask, states.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))


@breaks("initial loss", "overfit a small batch")
class LoudAtTheStart(Small):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec)
        with torch.no_grad():
            self.head.weight.mul_(100)


# 9: checkpoints


@breaks("checkpoint round trip")
class NumbersOutsideOfTheState(Small):
    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec)
        self.shift = float(torch.rand(1))  # neither a buffer nor an argument

    def decode(self, tokens: Any, memory: Any, state: Any = None) -> Any:
        answers, state = super().decode(tokens, memory, state)
        return answers + self.shift, state


@breaks("resumed", "distributed and accumulation equivalence")
class CountsItsSteps(Small):
    steps = 0

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.steps += 1  # which no checkpoint contains
        return super().training_step(batch, batch_idx) * self.steps


# 10: distributed


@breaks("distributed and accumulation equivalence")
class IgnoresTheWeightOfTheBatch(Small):
    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch._replace(loss_weight=1.0), batch_idx)
