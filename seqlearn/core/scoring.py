"""Log-probabilities of texts, and outputs of models without a decoder, from encoded sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqlearn.batch import SequenceBatch, pad
from seqlearn.core.eval_mode import eval_mode
from seqlearn.core.generation import (
    SupportsGeneration,
    batches,
    collate,
    float_dtype,
    has_sequences,
)
from seqlearn.instrumentation import active_listeners, generation, report_answers
from seqlearn.spec import AlignedSpec, ClassesSpec, MultiLabelSpec, TargetSpec
from seqlearn.spec.words import EncodedWords


def log_probabilities(
    module: SupportsGeneration, source_ids: Sequence[Any], targets: Sequence[Sequence[int]]
) -> Float[Tensor, " sentence"]:
    """The log-probability of each target, given its source.

    Args:
        module: The model.
        source_ids: The sources, from `encode_sources`.
        targets: Ids with start and end symbol.

    Returns:
        In nats, of all tokens after the start symbol, the end symbol included. On the CPU.
    """
    dtype = torch.promote_types(float_dtype(module), torch.float32)
    scores = torch.zeros(len(targets), dtype=dtype)
    sequences = has_sequences(module.spec)
    with eval_mode(cast(nn.Module, module)):
        for rows in batches(
            source_ids,
            targets,
            1,
            equal=False,
            sequences=sequences,
            max_tokens=module.max_batch_tokens,
        ):
            source, lengths = collate(module, [source_ids[row] for row in rows])
            batch = SequenceBatch(
                source, lengths, *pad([targets[row] for row in rows], module.device)
            )
            with generation(rows, len(source_ids), source, lengths):
                hidden, _ = module.forward_hidden(batch)
            target = module.spec.target
            labels, mask = target.labels_of(batch)
            nll = torch.zeros(mask.shape, dtype=dtype, device=module.device)
            nll[mask] = target.compute_loss(hidden[mask], labels[mask], module.head).nll.to(dtype)
            scores[rows] = -nll.sum(1).cpu()
    return scores


MAX_LABELS = 5
"""Labels that are named with their probabilities, the most probable first."""


def answer_texts(target: TargetSpec, outputs: Tensor) -> list[str]:
    """The predictions of a model without a decoder as texts, for people.

    Args:
        target: The type of the target.
        outputs: Outputs of the output layer, `batch …`.

    Returns:
        For classes the most probable labels with their probabilities, otherwise the prediction.

    Examples:
        >>> from seqlearn.spec import ClassesSpec
        >>> answer_texts(ClassesSpec(("bad", "good")), torch.tensor([[0.0, 2.0]]))
        ['good 88.1%, bad 11.9%']
    """
    if isinstance(target, ClassesSpec | MultiLabelSpec):
        texts = []
        for row in target.probabilities(outputs.float()).cpu():
            best = row.topk(min(MAX_LABELS, len(row)))
            pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
            texts.append(", ".join(f"{target.labels[index]} {share:.1%}" for index, share in pairs))
        return texts
    return [target.describe(each) for each in target.decode_outputs(outputs)]


def pooled_outputs(
    module: SupportsGeneration, source_ids: Sequence[Any]
) -> Float[Tensor, "source outputs"]:
    """The outputs for each source, for a target that needs no decoder; on the CPU.

    Raises:
        ValueError: If outputs are NaN or infinite; the message names the source.
    """
    dtype = torch.promote_types(float_dtype(module), torch.float32)
    outputs = torch.zeros(len(source_ids), module.spec.target.output_size, dtype=dtype)
    sequences = has_sequences(module.spec)
    with eval_mode(cast(nn.Module, module)):
        for rows in batches(
            source_ids,
            [[]] * len(source_ids),
            1,
            equal=False,
            sequences=sequences,
            max_tokens=module.max_batch_tokens,
        ):
            source, lengths = collate(module, [source_ids[row] for row in rows])
            target = torch.zeros(len(rows), dtype=torch.long, device=module.device)  # not read
            batch = SequenceBatch(source, lengths, target, None)
            with generation(rows, len(source_ids), source, lengths):
                predicted = cast(nn.Module, module)(batch)  # `forward` may be overridden
                if active_listeners():
                    report_answers(answer_texts(module.spec.target, predicted))
            outputs[rows] = predicted.to(dtype).cpu()
    _check_numbers(module.spec.target, outputs)
    return outputs


def word_outputs(
    module: SupportsGeneration, sentences: Sequence[EncodedWords]
) -> list[Float[Tensor, "words outputs"]]:
    """The outputs for each word of each sentence, for an `AlignedSpec`; on the CPU.

    Raises:
        ValueError: If outputs are NaN or infinite; the message names the sentence.
    """
    target = module.spec.target
    assert isinstance(target, AlignedSpec)
    dtype = torch.promote_types(float_dtype(module), torch.float32)
    outputs: list[Tensor] = [torch.zeros(0)] * len(sentences)
    with eval_mode(cast(nn.Module, module)):
        for rows in batches(
            sentences,
            [[]] * len(sentences),
            1,
            equal=False,
            max_tokens=module.max_batch_tokens,
        ):
            source, lengths = collate(module, [sentences[row] for row in rows])
            placed = [
                target.place(s.starts, [1] * len(s.starts))
                for s in map(sentences.__getitem__, rows)
            ]
            words = target.collate_targets(placed, module.device, dtype)
            with generation(rows, len(sentences), source, lengths):
                predicted = cast(nn.Module, module)(SequenceBatch(source, lengths, *words))
                if active_listeners():
                    own = [
                        each[: len(sentences[row].starts)]
                        for row, each in zip(rows, predicted, strict=True)
                    ]
                    report_answers([answer_texts(target, each[None])[0] for each in own])
            for row, each in zip(rows, predicted.to(dtype).cpu(), strict=True):
                outputs[row] = each[: len(sentences[row].starts)].clone()
    _check_numbers(target, outputs)
    return outputs


def _check_numbers(target: TargetSpec, outputs: Sequence[Tensor] | Tensor) -> None:
    """Check the outputs of each source, of which the largest would be arbitrary.

    -∞ is the logit of a label that a module rules out; one label must be left.
    """
    for number, each in enumerate(outputs, 1):
        if isinstance(target, MultiLabelSpec):
            wrong = each.isnan() | each.isposinf()
        elif {"classify", "tag"}.intersection(target.methods):
            wrong = ~each.amax(-1).isfinite()
        else:
            wrong = ~each.isfinite()
        if bool(wrong.any()):
            raise ValueError(
                f"the model's outputs for source {number} of {len(outputs)} are NaN or infinite; "
                "use a checkpoint from before the training diverged, or check the source for very "
                "large numbers"
            )
