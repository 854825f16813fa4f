"""What the answering commands write for a line of input: text, or a JSON object."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch

from seqlearn.callbacks.prediction_writer import to_single_line
from seqlearn.core import SequenceModule
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

Task = Literal["translate", "classify", "generate"]
Output = Literal["text", "json"]


class Chunk(NamedTuple):
    """Consecutive lines.

    Attributes:
        number: The number of the chunk, from 0.
        first: The number of its first line in the file, from 1.
        lines: The lines; empty ones stay empty.
    """

    number: int
    first: int
    lines: list[str]


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        checkpoint: What `load_module` loads.
        model: The class of the checkpoint, as `--model` names it.
        options: Arguments of `generate`.
        task: The command.
        output: The form of a line of output.
        details: Whether to write scores (of texts) or probabilities (of classes) too.
    """

    checkpoint: str
    model: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    task: Task = "translate"
    output: Output = "text"
    details: bool = False


def check_task(module: SequenceModule, request: Request) -> None:
    """Check that the model answers what the command asks.

    Raises:
        ValueError: If it does not; the message names the right command.
    """
    source, target = module.spec.source, module.spec.target
    fitting: Task | None = None
    if source is None:
        fitting = "generate"
    elif "classify" in target.methods:
        fitting = "classify"
    elif target.needs_decoder:
        fitting = "translate"
    if request.task == fitting:
        return
    advice = "model.predict(sources) in Python" if fitting is None else f"seqlearn {fitting}"
    given = "nothing" if source is None else type(source).__name__
    raise ValueError(
        f"seqlearn {request.task} does not fit {request.checkpoint}, a model from {given} to "
        f"{type(target).__name__}; use {advice}"
    )


def answer(module: SequenceModule, chunk: Chunk, request: Request) -> list[str]:
    """Make one line for each line of a chunk; an empty line stays empty."""
    lines = [line for line in chunk.lines if line]
    torch.manual_seed(chunk.number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownSymbolWarning)  # the command names the lines
        classes = request.task == "classify"
        found = iter(_classes(module, lines) if classes else _texts(module, lines, request))
    write = _as_json if request.output == "json" else _as_text
    return [write(line, next(found), request) if line else "" for line in chunk.lines]


class _Found(NamedTuple):
    """The answers for a line, best first, with their scores or probabilities."""

    answers: list[Any]
    scores: list[float] | None


def _classes(module: SequenceModule, lines: list[str]) -> list[_Found]:
    """The labels of each line, from the most probable one on."""
    if not lines:
        return []
    _, probabilities = module.classify(lines)
    labels = getattr(module.spec.target, "labels", None)
    assert labels is not None
    order = probabilities.argsort(dim=1, descending=True, stable=True)
    sorted_ = probabilities.gather(1, order)
    return [
        _Found([labels[index] for index in row], values)
        for row, values in zip(order.tolist(), sorted_.tolist(), strict=True)
    ]


def _texts(module: SequenceModule, lines: list[str], request: Request) -> list[_Found]:
    options = dict(request.options)
    several = options.get("num_return_sequences", 1) > 1
    if request.details:
        options["return_scores"] = True
    made: Any = (
        module.generate(prompts=lines, **options)
        if request.task == "generate"
        else module.generate(lines, **options)
    )
    texts, scores = made if request.details else (made, None)
    rows = texts if several else [[text] for text in texts]
    if scores is None:
        return [_Found(row, None) for row in rows]
    values = scores.tolist() if several else [[score] for score in scores.tolist()]
    return [_Found(row, said[: len(row)]) for row, said in zip(rows, values, strict=True)]


def _as_text(_line: str, found: _Found, request: Request) -> str:
    r"""The answers separated by tabs; with details each after its score.

    Of classes only the most probable label is written, unless details are asked for.
    """
    answers = [to_single_line(one).replace("\t", " ") for one in found.answers]
    if request.task == "classify" and not request.details:
        return answers[0]
    if found.scores is None or not request.details:
        return "\t".join(answers) if len(answers) > 1 else to_single_line(found.answers[0])
    pairs = zip(found.scores, answers, strict=True)
    return "\t".join(f"{score:.4f}\t{text}" for score, text in pairs)


def _as_json(line: str, found: _Found, request: Request) -> str:
    """An object with the input and its answers."""
    name = {"translate": "source", "classify": "text", "generate": "prompt"}[request.task]
    said: dict[str, Any] = {name: line}
    if request.task == "classify":
        said["label"] = found.answers[0]
        if request.details and found.scores is not None:
            rounded = [round(score, 6) for score in found.scores]
            said["probabilities"] = dict(zip(found.answers, rounded, strict=True))
        return json.dumps(said, ensure_ascii=False)
    keys = ("text", "score") if found.scores is not None else ("text",)
    columns = [found.answers, *([found.scores] if found.scores is not None else [])]
    answers = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
    if request.options.get("num_return_sequences", 1) > 1:
        said["answers"] = answers
    else:
        said |= answers[0]
    return json.dumps(said, ensure_ascii=False)
