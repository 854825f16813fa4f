"""`CarriedState`: the recurrent state between batches, for truncated backpropagation through time.

If `SequenceBatch.continues_previous` is true and the decoder has a true attribute `stateful`, a
language model starts a batch from the final state of the previous batch, detached from its graph
(Williams & Peng 1990).
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

from seqlearn.batch import SequenceBatch
from seqlearn.core.eval_mode import is_evaluating
from seqlearn.nn import State, tree_map


class CarriedState:
    """The decoder's state after the last batch, one for training and one for evaluation.

    The stage of the trainer selects one of the two; without a running trainer, the mode of the
    module does. Within `eval_mode`, such as in a callback during a run, no state is carried: every
    batch starts without a state, and the states of the run do not change.

    Args:
        module: The module whose decoder has the state.
    """

    def __init__(self, module: L.LightningModule) -> None:
        # In a tuple, so that torch does not register the module as a submodule of itself.
        self._module = (module,)
        self._states: dict[bool, State | None] = {True: None, False: None}
        self._marked: tuple[int, State | None] = (-1, None)

    def initial_state(self, batch: SequenceBatch) -> State | None:
        """The state from which a batch starts; `None` unless it continues the previous batch."""
        training = self._in_training()
        if training is None:
            return None
        if not batch.continues_previous:
            self._states[training] = None
        device = batch.target.device
        return tree_map(lambda part: part.to(device), self._states[training])

    def update(self, state: State) -> None:
        """Store the state after a batch, detached from the graph."""
        training = self._in_training()
        if self._carries and training is not None:
            self._states[training] = tree_map(lambda part: part.detach(), state)

    def mark(self, batches_done: int) -> None:
        """Store the training state before an accumulation group.

        A checkpoint saved within the group resumes from it, because it has no gradients.

        Args:
            batches_done: Number of training batches of the run before the group.
        """
        self._marked = batches_done, self._states[True]

    def _in_training(self) -> bool | None:
        """Whether the current batch is a training batch; `None` within `eval_mode`."""
        module: Any = self._module[0]
        if is_evaluating(module):
            return None
        trainer = module._trainer  # noqa: SLF001 -- the public name raises where there is none
        if trainer is None or trainer.state.stage is None:
            return bool(module.training)
        return bool(trainer.training)

    @property
    def _carries(self) -> bool:
        """Whether the module is a language model with a stateful decoder."""
        module: Any = self._module[0]
        return module.spec.source is None and getattr(module.decoder, "stateful", False)

    def gather(self, batches_done: int | None = None) -> list[Any] | None:
        """Collect the training states of all ranks for a checkpoint. All ranks must call it.

        Args:
            batches_done: Number of batches after which the resumed run continues. If `mark` was
                called with this number, the state of that time is collected, else the current one.

        Returns:
            One state per rank, on the CPU; `None` if no state is carried. A module without a
            stateful decoder returns it without communication.
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
        """Restore the states of a checkpoint if it was written by equally many ranks."""
        if ranks is not None and len(ranks) == _world_size():
            self._states[True] = ranks[self._module[0].global_rank]


def _world_size() -> int:
    """Number of processes that train together; does not need a Trainer."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if together else 1
