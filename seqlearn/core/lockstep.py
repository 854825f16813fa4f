"""`Lockstep`: lets ranks of a sharded module call its layers a different number of times.

FSDP2 gathers the weights of a layer from all ranks when the layer is called. In generation, ranks
need different numbers of steps, and a rank that calls a layer alone would wait for the others
forever. Within a `turn`, a rank therefore announces each layer before it calls it. The ranks agree
on the first of the announced layers (one scalar reduction). Those that announced it call it. The
others only give their part of its weights, and announce again. A rank that has finished takes part
until all have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule


class Lockstep:
    """The agreement of ranks on the next layer to be gathered.

    Args:
        layers: The sharded layers, in the same order on all ranks.
        group: The processes over which they are sharded.
        device: The device of the reduced number.

    Attributes:
        in_turn: Whether the layers are called within a `turn`.
        entered: Whether a method that has gathered the other weights is running.
    """

    def __init__(self, layers: Sequence[nn.Module], group: Any, device: torch.device) -> None:
        self._layers, self._group, self._device = list(layers), group, device
        self.in_turn = self.entered = False
        for number, layer in enumerate(self._layers):

            def announce(_layer: nn.Module, _inputs: Any, number: int = number) -> None:
                self._wait_for(number)

            uncompiled: Any = torch.compiler.disable(announce)  # type: ignore[no-untyped-call]
            layer.register_forward_pre_hook(uncompiled, prepend=True)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Call layers any number of times, without gradients; returns when all ranks are done.

        All ranks must begin equally many turns. After an error in one of them the others still
        finish theirs.
        """
        within, self.in_turn = self.in_turn, True
        try:
            yield
        except Exception:
            self._wait_for(len(self._layers))
            raise
        else:
            self._wait_for(len(self._layers))
        finally:
            self.in_turn = within

    @contextmanager
    def entry(self) -> Iterator[None]:
        """Run a method that gathers the weights outside of the layers."""
        self.entered = True
        try:
            yield
        finally:
            self.entered = False

    def _wait_for(self, number: int) -> None:
        """Take part in the calls of other ranks until it is the turn of this layer."""
        while self.in_turn and (first := self._first(number)) != number:
            layer = cast(FSDPModule, self._layers[first])
            layer.unshard()
            layer.reshard()

    def _first(self, number: int) -> int:
        """The lowest number that any rank announces: encoders come before decoders."""
        lowest = torch.tensor(number, device=self._device)
        dist.all_reduce(lowest, op=dist.ReduceOp.MIN, group=self._group)
        return int(lowest)
