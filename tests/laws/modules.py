"""Every architecture as the laws test it: small, and with other options for every seed.

The kit seeds torch before it calls a factory, so what a factory picks by torch's random numbers is
a function of the seed, and a counterexample can be built again.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import torch
from hypothesis import strategies as st
from sru import SRU

import seqlearn as sl
from seqlearn.batch import SequenceBatch
from seqlearn.testing import TASKS, batch_of
from seqlearn.testing.module_under_test import perturb
from seqlearn.testing.strategies import examples, seeds

_Choice = TypeVar("_Choice")


def pick(*choices: _Choice) -> _Choice:
    """One of these, drawn with torch's random numbers."""
    return choices[int(torch.randint(len(choices), ()))]


def tied(spec: sl.SequenceSpec) -> bool:
    """Whether embedding and head are tied, which only a text target allows."""
    return isinstance(spec.target, sl.TextSpec) and pick(True, False)


def feedforward(spec: sl.SequenceSpec) -> sl.FeedForward:
    return sl.FeedForward(
        spec,
        d_model=pick(6, 8),
        window=pick(2, 5, 12),
        overflow="truncate",
        num_layers=pick(1, 2),
        dropout=pick(0.0, 0.2),
        tie_embeddings=tied(spec),
    )


def recurrent(spec: sl.SequenceSpec) -> dict[str, Any]:
    """The options that every recurrent architecture has."""
    return {
        "d_model": pick(6, 8),
        "num_layers": pick(1, 2),
        "bidirectional": pick(True, False),
        "dropout": pick(0.0, 0.2),
        "tie_embeddings": tied(spec),
    }


def rnn(spec: sl.SequenceSpec) -> sl.RNN:
    return sl.RNN(spec, **recurrent(spec))


def gru(spec: sl.SequenceSpec) -> sl.GRU:
    return sl.GRU(spec, update_bias=pick(0.0, 1.0), **recurrent(spec))


def lstm(spec: sl.SequenceSpec) -> sl.LSTM:
    return sl.LSTM(spec, forget_bias=pick(0.0, 1.0), **recurrent(spec))


def attention_seq2seq(spec: sl.SequenceSpec) -> sl.AttentionSeq2Seq:
    return sl.AttentionSeq2Seq(
        spec,
        cell=pick("rnn", "gru", "lstm"),
        score=pick("dot", "general", "additive", "scaled_dot"),
        input_feeding=pick(True, False),
        **recurrent(spec),
    )


def transformer(spec: sl.SequenceSpec) -> sl.Transformer:
    return sl.Transformer(
        spec,
        d_model=pick(8, 12),
        num_layers=pick(1, 2),
        num_heads=pick(1, 2),
        d_feedforward=pick(None, 6),
        norm=pick("post", "pre"),
        positions=pick("sinusoidal", "rotary"),
        activation=pick("relu", "gelu"),
        dropout=pick(0.0, 0.2),
        tie_embeddings=tied(spec),
    )


def learned_positions(spec: sl.SequenceSpec) -> sl.Transformer:
    """Positions that limit the length of a text to the longest of training."""
    return sl.Transformer(
        spec, d_model=8, num_layers=1, num_heads=2, positions="learned", dropout=0.2
    )


MODULES = {
    "FeedForward": feedforward,
    "RNN": rnn,
    "GRU": gru,
    "LSTM": lstm,
    "AttentionSeq2Seq": attention_seq2seq,
    "Transformer": transformer,
    "Transformer with learned positions": learned_positions,
    "SRU": lambda spec: SRU(spec, d_model=6),
}

SERVED = [
    (name, task)
    for name in ("FeedForward", "RNN", "GRU", "LSTM", "AttentionSeq2Seq", "Transformer")
    for task in TASKS
    if (name, task) != ("AttentionSeq2Seq", "language-modeling")
    and (task != "tagging" or name in ("LSTM", "Transformer"))
]
"""Each architecture with each task that it serves; two with tags, for which only encoders matter
(test_tags.py has all)."""


class Case(NamedTuple):
    """A module by name, task and seed, and the examples of a batch, as plain data."""

    name: str
    task: str
    seed: int
    examples: list[tuple[Any, Any]]

    def module(self) -> sl.SequenceModule:
        """The module, in float64 and eval mode, with biases that are not zero."""
        torch.manual_seed(self.seed)
        module = MODULES[self.name](TASKS[self.task])
        perturb(module)
        return module.double().eval()

    def batch(self) -> SequenceBatch:
        """The batch of the examples."""
        return batch_of(TASKS[self.task], self.examples, torch.float64)


@st.composite
def cases(
    draw: st.DrawFn,
    *,
    tasks: tuple[str, ...] = tuple(TASKS),
    names: tuple[str, ...] = tuple(name for name in MODULES if name != "SRU"),
) -> Case:
    """One of these modules (by default the library's) on one of these tasks, and a batch."""
    name = draw(st.sampled_from(names))
    served = [s for s in tasks if not (name == "AttentionSeq2Seq" and s == "language-modeling")]
    task = draw(st.sampled_from(served))
    return Case(name, task, draw(seeds()), draw(examples(TASKS[task])))
