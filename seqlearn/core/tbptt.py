"""The state that a recurrent language model carries from one batch of a long text to the next.

Where a batch says that it continues the one before (`SequenceBatch.continues_previous`), and the
decoder has an attribute `stateful` that is true, decoding begins with the state in which the batch
before ended, without its gradient (truncated backpropagation through time, Williams & Peng 1990).
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from seqlearn.batch import SequenceBatch
from seqlearn.core.eval_mode import is_evaluating
from seqlearn.nn import State, tree_map


class CarriedState:
    """What is carried, apart in training and in evaluation.

    Which of the two is decided by the trainer's stage; without a running trainer, by the module's
    mode. In a block of `eval_mode`, as a callback in the middle of a run has it, nothing is
    carried: every batch begins anew, and the states of the run stay as they are.

    Args:
        module: Whose decoder carries.
    """

    def __init__(self, module: L.LightningModule) -> None:
        # In a tuple, where torch does not take it for a part of the part that holds this.
        self._module = (module,)
        self._states: dict[bool, State | None] = {True: None, False: None}
        self._marked: tuple[int, State | None] = (-1, None)

    def initial_state(self, batch: SequenceBatch) -> State | None:
        """The state to begin a batch with; `None` unless it continues the one before."""
        training = self._in_training()
        if training is None:
            return None
        if not batch.continues_previous:
            self._states[training] = None
        device = batch.target.device
        return tree_map(lambda part: part.to(device), self._states[training])

    def update(self, state: State) -> None:
        """Keep the state in which a batch ended, without its gradient."""
        training = self._in_training()
        if self._carries and training is not None:
            self._states[training] = tree_map(lambda part: part.detach(), state)

    def mark(self, batches_done: int) -> None:
        """Keep the training state before an accumulation group; no gradient of it is saved.

        Args:
            batches_done: Training batches done before it, in all.
        """
        self._marked = batches_done, self._states[True]

    def _in_training(self) -> bool | None:
        """Whether a batch now is one of training; `None` if it is no batch of a run."""
        module: Any = self._module[0]
        if is_evaluating(module):
            return None
        trainer = module._trainer  # noqa: SLF001 -- the public name raises where there is none
        if trainer is None or trainer.state.stage is None:
            return bool(module.training)
        return bool(trainer.training)

    @property
    def _carries(self) -> bool:
        """Whether the module is a language model whose decoder carries its state on."""
        module: Any = self._module[0]
        return module.spec.source is None and getattr(module.decoder, "stateful", False)

    def gather(self, batches_done: int | None = None) -> list[Any] | None:
        """For a checkpoint: the training state of each rank, on the CPU; called on all ranks.

        Args:
            batches_done: Where the resumed run goes on, if that is the start of the accumulation
                group that was marked; else from the state of now.

        Returns:
            One for each rank; `None` of a module that carries nothing, whose ranks then need not
            wait for one another.
        """
        if not self._carries:
            return None
        marked, state = self._marked
        if batches_done is None or marked != batches_done:
            state = self._states[True]
        ranks: list[Any] = [tree_map(lambda part: part.detach().cpu(), state)]
        if _world_size() > 1:
            mine, ranks = ranks[0], [None] * _world_size()
            torch.distributed.all_gather_object(ranks, mine)
        return None if all(state is None for state in ranks) else ranks

    def resume(self, ranks: list[Any] | None) -> None:
        """Go on with what a checkpoint holds, if it was written by as many ranks."""
        if ranks is not None and len(ranks) == _world_size():
            self._states[True] = ranks[self._module[0].global_rank]


def _world_size() -> int:
    """Processes that train together; also known where there is no Trainer."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1
