"""The figures of a trained model: quality by length, memory by distance, gradient flow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device

from seqlearn.batch import SequenceBatch
from seqlearn.callbacks import GradientFlow
from seqlearn.comparison.examples import (
    MEASURED,
    answers,
    batches_of,
    lengths_of,
    predict,
    probe_of,
    shown_example,
    single_examples,
    spaced_rows,
)
from seqlearn.comparison.job import Job
from seqlearn.core import SequenceModule
from seqlearn.core.eval_mode import eval_mode
from seqlearn.core.generation import references
from seqlearn.data import SequenceDataModule
from seqlearn.data.module import Split
from seqlearn.introspect import record
from seqlearn.metrics import CorpusBLEU
from seqlearn.spec import SequenceSpec

GROUPS = 5
"""Groups of examples of similar length."""

DISTANCES = (0, 1, 3, 10, 30, 100, 300, 1000)
"""Distances at which the memory is measured, as far as three times that of the data."""

_PER_DISTANCE = 200


@runtime_checkable
class HasDistance(Protocol):
    """A data module whose answer depends on something a known distance away, such as `Recall`."""

    distance: int

    def at_distance(self, distance: int) -> Iterable[tuple[Any, Any]]:
        """Test examples of another distance."""


def measured(measure: Callable[[], Any]) -> Any:
    """The result of a measurement, or `{"error": reason}` if it fails."""
    try:
        return measure()
    except Exception as error:  # noqa: BLE001 -- one measurement must not end the run
        return {"error": reason_of(error)}


def reason_of(error: BaseException) -> str:
    """An error in one line.

    Examples:
        >>> reason_of(ValueError("too long"))
        'ValueError: too long'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")[:500]


def evaluate(module: SequenceModule, job: Job, split: Split) -> dict[str, Any]:
    """Measure a trained model; what cannot be measured is an error in its place.

    Args:
        module: The model, on its device.
        job: The run.
        split: The split of the examples.

    Returns:
        Plain data.
    """
    data = job.data
    dataset = single_examples(data, split)
    found: dict[str, Any] = {"gradient": measured(lambda: gradient(module, data, split))}
    if isinstance(data, HasDistance):
        found["memory"] = measured(lambda: memory(module, data))
    if dataset is None:
        return found
    found["by_length"] = measured(lambda: by_length(module, data, split))
    if job.detailed:
        sampled = measured(lambda: [list(each) for each in answers(module, dataset)])
        found["samples"] = sampled
        found["recording"] = measured(lambda: _record(module, job, split))
    return found


def gradient(module: SequenceModule, data: SequenceDataModule, split: Split) -> dict[str, Any]:
    """The gradient of the last target's loss by the distance from the last step."""
    probe = move_data_to_device(probe_of(data, split), module.device)
    with eval_mode(module):
        flow = GradientFlow().observe(module, probe)
    return {"curve": flow.curve.tolist(), "class": flow.flow_class}


def length_groups(lengths: np.ndarray) -> list[tuple[int, int]]:
    """The shortest and longest length of groups of about equally many examples.

    Examples:
        >>> length_groups(np.array([3, 3, 4, 9, 9, 20]))
        [(3, 3), (4, 4), (5, 9), (10, 20)]
    """
    edges = sorted({int(q) for q in np.quantile(lengths, np.linspace(0, 1, GROUPS + 1)[1:])})
    low, groups = int(lengths.min()), []
    for high in edges:
        if ((lengths >= low) & (lengths <= high)).any():
            groups.append((low, high))
            low = high + 1
    return groups


def by_length(module: SequenceModule, data: SequenceDataModule, split: Split) -> dict[str, Any]:
    """Loss, and the share of right answers, of examples grouped by length.

    Returns:
        Under `groups` for each its lengths, number of examples, loss (nats, or squared error, per
        item), `right` (a fraction) and BLEU, as far as they apply.
    """
    dataset = data.dataset(split)
    rows = spaced_rows(dataset, MEASURED)
    lengths = lengths_of(dataset)
    if lengths[rows].min() == lengths[rows].max():
        return {"error": f"all examples have the length {lengths[rows][0]}"}
    losses: dict[int, float] = {}
    right: dict[int, bool] = {}
    texts: dict[int, tuple[str, str]] = {}
    generated = module.spec.source is not None and module.spec.target.needs_decoder
    readable = generated and module.spec.target.is_readable_text
    for batch_rows in batches_of(dataset, rows):
        batch: SequenceBatch = move_data_to_device(dataset[batch_rows], module.device)
        losses |= zip(batch_rows, _losses(module, batch, right, batch_rows), strict=True)
        if generated:
            said, expected = predict(module, batch), references(module.spec, batch)
            for row, one, other in zip(batch_rows, said, expected, strict=True):
                right[row] = one == other
                if readable:
                    texts[row] = (str(one), str(other))
    groups = []
    for low, high in length_groups(lengths[rows]):
        inside = [row for row in rows if low <= lengths[row] <= high]
        group: dict[str, Any] = {"low": low, "high": high, "examples": len(inside)}
        group["loss"] = float(np.mean([losses[row] for row in inside]))
        if right:
            group["right"] = float(np.mean([right[row] for row in inside]))
        if readable:
            bleu = CorpusBLEU()
            bleu.update(*map(list, zip(*(texts[row] for row in inside), strict=True)))
            group["bleu"] = float(bleu.compute())
        groups.append(group)
    return {"groups": groups, "examples": len(rows)}


def _losses(
    module: SequenceModule, batch: SequenceBatch, right: dict[int, bool], rows: Sequence[int]
) -> list[float]:
    """The mean loss of each example; adds whether all its items are right, where there are some."""
    with eval_mode(module):
        output = module.compute_loss(batch)
    mask = output.mask.cpu()
    row_of = mask.nonzero()[:, 0]
    nll = output.nll.double().cpu().reshape(len(row_of), -1).mean(1)
    sums = torch.zeros(len(mask), dtype=torch.double).index_add_(0, row_of, nll)
    if module.spec.source is not None and _is_integer(output.labels):
        wrong = ~output.correct.cpu().reshape(len(row_of), -1).all(1)
        wrongs = torch.zeros(len(mask)).index_add_(0, row_of, wrong.float())
        right |= {row: not count for row, count in zip(rows, wrongs.tolist(), strict=True)}
    counts = mask.sum(1).clamp(min=1)
    return (sums / counts).tolist()


def _is_integer(labels: torch.Tensor | None) -> bool:
    return labels is not None and not labels.is_floating_point()


def memory(module: SequenceModule, data: HasDistance) -> dict[str, Any]:
    """The share of right answers at several distances, of a model that was trained at one.

    Returns:
        Under `points` for each distance the share, or why it was not measured; the distance of
        training as `trained`.
    """
    farthest = max(10, 3 * data.distance)
    points = []
    for distance in sorted({d for d in DISTANCES if d <= farthest} | {data.distance}):
        examples = list(islice(data.at_distance(distance), _PER_DISTANCE))
        share = measured(partial(_share_right, module, module.spec, examples))
        points.append([distance, share])
    return {"points": points, "trained": data.distance, "examples": _PER_DISTANCE}


def _share_right(
    module: SequenceModule, spec: SequenceSpec, examples: list[tuple[Any, Any]]
) -> float:
    """The share of right answers; of a language model of right last words."""
    sources, targets = zip(*examples, strict=True)
    if spec.source is not None:
        said = [
            one
            for at in range(0, len(sources), 20)
            for one in module.predict(sources[at : at + 20])
        ]
        return float(np.mean([one == target for one, target in zip(said, targets, strict=True)]))
    prompts = [target.rpartition(" ")[0] for target in targets]
    texts = [
        one
        for at in range(0, len(prompts), 20)
        for one in module.generate(prompts=prompts[at : at + 20], max_new_tokens=1)
    ]
    return float(np.mean([text == target for text, target in zip(texts, targets, strict=True)]))


def _record(module: SequenceModule, job: Job, split: Split) -> dict[str, Any]:
    """Record the activations for one example into a file."""
    dataset = job.data.dataset(split)
    row = shown_example(dataset)
    batch = move_data_to_device(dataset[[row]], module.device)
    with record(module) as recording:
        predict(module, batch)
    recording.save(job.recording)
    return {"file": job.recording.name, "row": row, "attends": bool(recording.attention)}
