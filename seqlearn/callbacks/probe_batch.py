"""The probe batch: taking it from a loader's batch, recording a module on it, naming its tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.introspect import Recording, Tokens
from seqlearn.introspect.recording._record import record_quietly
from seqlearn.introspect.recording.token_names import token_names


def first_rows(batch: Any, rows: int) -> Any:
    """Copy the first rows of a batch; the first axis of every tensor is assumed to be the batch.

    A `SequenceBatch` is also truncated to its longest remaining sequences. The copies are ordinary
    tensors that autograd can save, also if the batch was created in inference mode.
    """

    def copy(tensor: Tensor) -> Tensor:
        return (tensor[:rows] if tensor.ndim else tensor).detach().clone()

    with torch.inference_mode(mode=False):
        taken = apply_to_collection(batch, Tensor, copy)
        if not isinstance(taken, SequenceBatch):
            return taken
        source, target = taken.source, taken.target
        if source is not None and taken.source_lengths is not None:
            source = source[:, : int(taken.source_lengths.max())]
        if taken.target_lengths is not None:
            target = target[:, : int(taken.target_lengths.max())]
        references = None if taken.references is None else taken.references[:rows]
        return taken._replace(source=source, target=target, references=references)


def record_probe(
    module: L.LightningModule,
    probe: Any,
    run: Callable[[L.LightningModule, Any], Any] | None,
    what: Sequence[str],
) -> Recording:
    """Record a module on a probe batch.

    Args:
        module: Any module.
        probe: The batch.
        run: Function of both; `None` calls `module(probe)`.
        what: Kinds to record, as in `record`.

    Returns:
        The recording, labelled by the tokens of the probe if these are known; empty, without a
        warning, if the module reports nothing.

    Raises:
        TypeError: If there is no `run` and the module cannot be called with the probe.
    """
    with record_quietly(module, what) as recording:
        _call(module, probe) if run is None else run(module, probe)
    unlabelled = all(tokens == Tokens() for tokens in recording.tokens)
    if run is None and unlabelled and isinstance(probe, SequenceBatch):
        captured = [*recording.attention.values(), *recording.states.values()]
        captured += [gate for gates in recording.gates.values() for gate in gates.values()]
        if any(len(tensor) == probe.size for tensor in captured):
            recording.label(batch_tokens(probe, getattr(module, "spec", None)))
    return recording


def check_forward(module: L.LightningModule, callback: object) -> None:
    """Check that a module has a `forward`, which is optional in a LightningModule.

    Raises:
        TypeError: If it has none; the message names the callback that would call it.
    """
    inherited = (L.LightningModule.forward, torch.nn.Module.forward)
    if type(module).forward in inherited and "forward" not in vars(module):
        raise TypeError(
            f"{type(callback).__name__}: expected a module with a forward that takes a batch, got "
            f"{type(module).__name__} without one; pass run=, a function of the module and "
            "the batch"
        )


def _call(module: L.LightningModule, probe: Any) -> None:
    """Call a module with a whole batch."""
    if isinstance(module, SequenceModule):
        module(probe)
        return
    try:
        module(probe)
    except (TypeError, AttributeError, ValueError, LookupError) as error:
        raise TypeError(
            f"expected {type(module).__name__} to take a whole batch, here a "
            f"{type(probe).__name__}, in a call of the module, which raised "
            f"{type(error).__name__}: {error}; pass run=, a function of the module and the batch, "
            "such as run=lambda module, batch: module(batch[0])"
        ) from error


def batch_tokens(batch: SequenceBatch, spec: Any) -> list[Tokens]:
    """Name the source and target tokens of a batch by the two sides of a spec."""
    source_side, target_side = getattr(spec, "source", None), getattr(spec, "target", None)
    tokens = []
    for row in range(batch.size):
        source = decoder_input = decoder_output = None
        if batch.source is not None and batch.source_lengths is not None:
            ids = batch.source[row, : int(batch.source_lengths[row])].tolist()
            source = token_names(source_side, ids)
        elif batch.source is not None:
            source = ["vector"]
        decoded = getattr(target_side, "needs_decoder", True)
        if batch.target_lengths is not None and decoded:
            ids = batch.target[row, : int(batch.target_lengths[row])].tolist()
            decoder_input = token_names(target_side, ids[:-1])
            decoder_output = token_names(target_side, ids[1:])
        tokens.append(Tokens(source, decoder_input, decoder_output))
    return tokens
