"""Recorded kinds of a user's own, and a module that reports them, written outside the package."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import seqlearn as sl
from seqlearn.introspect import RecordedKind, register_kind

NOVELTY = register_kind(
    RecordedKind("novelty", ("batch", "time", "width"), expose=torch.exp, label="novelty scores")
)
LAST = register_kind(RecordedKind("last logits", ("batch", "time", "width"), over_steps="last"))
SIMILARITY = register_kind(RecordedKind("similarity", ("batch", "query", "key")))


class Probed(sl.GRU):
    """A GRU that reports three quantities of its own while it decodes."""

    def decode(self, tokens: Tensor, memory: Any, state: Any = None) -> Any:
        hidden, state = super().decode(tokens, memory, state)
        sl.probe("out", hidden.norm(dim=-1, keepdim=True), "novelty", axes=("target",))
        sl.probe("head", self.head(hidden)[:, -1:], "last logits", axes=("pooled",))
        sl.probe("cross", hidden @ memory.states.mT, "similarity", axes=("target", "source"))
        return hidden, state
