"""How probable a module finds texts and classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqlearn.batch import length_mask, pad
from seqlearn.core.eval_mode import eval_mode
from seqlearn.core.generation import SupportsGeneration, batches, collate
from seqlearn.instrumentation import decoding_step, end_teacher_forcing, generation
from seqlearn.nn import linear_cross_entropy


def log_probabilities(
    module: SupportsGeneration, source_ids: Sequence[Any], targets: Sequence[Sequence[int]]
) -> Float[Tensor, " sentence"]:
    """The log-probability of each target, given its source.

    Args:
        module: What is asked.
        source_ids: The sources, from `encode_sources`.
        targets: Ids that stand as start … end.

    Returns:
        In nats, of all tokens after the start symbol, the end symbol included. On the CPU.
    """
    dtype = torch.promote_types(module.head.weight.dtype, torch.float32)
    scores = torch.zeros(len(targets), dtype=dtype)
    with eval_mode(cast(nn.Module, module)):
        for rows in batches(source_ids, targets, 1, equal=False):
            source = collate(module, [source_ids[row] for row in rows])
            ids, lengths = pad([targets[row] for row in rows], module.device)
            with generation(rows, len(source_ids), *source):
                memory = module.encode(*source)
                decoding_step(None)
                hidden, _ = module.decode(ids[:, :-1], memory)
                end_teacher_forcing(len(rows), ids, lengths)
            labels = ids[:, 1:]
            mask = length_mask(lengths - 1, labels.shape[1])
            nll = torch.zeros_like(labels, dtype=dtype)
            nll[mask] = linear_cross_entropy(
                hidden[mask], module.head.weight, module.head.bias, labels[mask]
            ).nll.to(dtype)
            scores[rows] = -nll.sum(1).cpu()
    return scores


def pooled_outputs(
    module: SupportsGeneration, source_ids: Sequence[Any]
) -> Float[Tensor, "source outputs"]:
    """The outputs for each source, for a target that needs no decoder; on the CPU."""
    dtype = torch.promote_types(module.head.weight.dtype, torch.float32)
    outputs = torch.zeros(len(source_ids), module.spec.target.output_size, dtype=dtype)
    with eval_mode(cast(nn.Module, module)):
        for rows in batches(source_ids, [[]] * len(source_ids), 1, equal=False):
            source = collate(module, [source_ids[row] for row in rows])
            with generation(rows, len(source_ids), *source):
                memory = module.encode(*source)
                assert memory is not None
                end_teacher_forcing(len(rows))
            outputs[rows] = module.head(memory.pooled).to(dtype).cpu()
    return outputs
