"""What the answering commands write for an input: a line of text, or a JSON object."""

from __future__ import annotations

import json
import traceback
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch

from seqlearn.callbacks.prediction_writer import to_single_line
from seqlearn.class_methods import is_overridden
from seqlearn.cli.decoding_options import as_options
from seqlearn.cli.inputs import Item
from seqlearn.core import SequenceModule
from seqlearn.core.inference_precision import InferencePrecision
from seqlearn.spec import MultiLabelSpec
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

Task = Literal["translate", "classify", "generate", "predict"]
Output = Literal["text", "json"]
INPUT_NAMES: dict[Task, str] = {
    "translate": "source",
    "classify": "text",
    "generate": "prompt",
    "predict": "input",
}
"""The key of the input in JSON output."""

SEED_STEP = 1_000_003
"""Between the random states of two seeds: more than the chunks of a file, and odd, because torch's
generator on the CPU reads 32 bits of it."""


class Chunk(NamedTuple):
    """Consecutive inputs.

    Attributes:
        number: The number of the chunk, from 0.
        items: The inputs; an empty text has no answer.
    """

    number: int
    items: list[Item]


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
        batch_tokens: Most tokens of a batch; `None` is the default of the model.
        seed: Determines, with the number of a chunk, the texts that are drawn.
        precision: What `for_inference` is given; `None` is the precision of the checkpoint.
    """

    checkpoint: str
    model: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    task: Task = "translate"
    output: Output = "text"
    details: bool = False
    batch_tokens: int | None = None
    seed: int = 0
    precision: InferencePrecision | None = None


def method_of(module: SequenceModule) -> Task:
    """The most specific command that answers with this model.

    Examples:
        >>> import seqlearn as sl
        >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.ClassesSpec(("no", "yes")))
        >>> method_of(sl.GRU(spec, d_model=4))
        'classify'
    """
    target = module.spec.target
    if module.spec.source is None:
        return "generate"
    if "classify" in target.methods:
        return "classify"
    return "translate" if target.needs_decoder else "predict"


def unused_decoding(checkpoint: str, target: Any, options: Mapping[str, Any]) -> ValueError:
    """The error for options of decoding with a model that generates no text."""
    names = as_options(", ".join(sorted(options)))
    return ValueError(
        f"{names}: options of generated texts, and {checkpoint} predicts {type(target).__name__}; "
        "leave them out"
    )


def check_task(module: SequenceModule, request: Request) -> None:
    """Check that the model answers what the command asks, with its options.

    Raises:
        ValueError: If it does not; the message names the right command.
    """
    fitting = method_of(module)
    source, target = module.spec.source, module.spec.target
    if request.task != fitting and (request.task != "predict" or source is None):
        given = "nothing" if source is None else type(source).__name__
        raise ValueError(
            f"seqlearn {request.task} does not fit {request.checkpoint}, a model from {given} to "
            f"{type(target).__name__}; use seqlearn {fitting}"
        )
    if request.options and not target.needs_decoder:
        raise unused_decoding(request.checkpoint, target, request.options)
    if request.details and fitting == "predict" and "tag" not in target.methods:
        raise ValueError(
            "--scores and --probabilities are for texts, classes and tags, and "
            f"{request.checkpoint} predicts {type(target).__name__}; leave them out"
        )


class Answered(NamedTuple):
    """What became of a chunk.

    Attributes:
        lines: A line for each input; an empty text stays empty, or has the answer null.
        error: Of the first input that the model cannot answer, such as one that is too long, with
            its place. The lines are then those of the inputs before it.
    """

    lines: list[str]
    error: ValueError | None = None


def answer(module: SequenceModule, chunk: Chunk, request: Request) -> Answered:
    """Answer the inputs of a chunk, up to one that the model cannot answer."""
    try:
        return Answered(_lines(module, chunk, request))
    except (TypeError, ValueError) as error:
        count, message = _first_wrong(module, chunk.items, request, error)
        before = chunk._replace(items=chunk.items[:count])
        wrong = ValueError(message)
        wrong.add_note("".join(traceback.format_exception(error)))  # also from another process
        return Answered(_lines(module, before, request), wrong)


def _lines(module: SequenceModule, chunk: Chunk, request: Request) -> list[str]:
    items = [item for item in chunk.items if not item.is_empty]
    if request.batch_tokens is not None:
        module.max_batch_tokens = request.batch_tokens
    torch.manual_seed(request.seed * SEED_STEP + chunk.number)
    found = iter(_answers(module, [item.value for item in items], request))
    if request.output == "json":
        none = json.dumps({INPUT_NAMES[request.task]: "", _answer_key(module, request): None})
        return [
            none if item.is_empty else _as_json(item, next(found), request) for item in chunk.items
        ]
    return ["" if item.is_empty else _as_text(item, next(found), request) for item in chunk.items]


def _first_wrong(
    module: SequenceModule, items: Sequence[Item], request: Request, error: Exception
) -> tuple[int, str]:
    """The index of the first input that causes an error alone, and the message with its place.

    If none does, the index is 0.
    """
    for index, item in enumerate(items):
        if item.is_empty:
            continue
        try:
            _answers(module, [item.value], request)
        except (TypeError, ValueError) as found:
            words = str(found).removeprefix("input 1: ").removeprefix("prompt 1: ")
            return index, f"{item.place}: {words}"
    return 0, str(error)


class _Found(NamedTuple):
    """The answers for an input.

    Attributes:
        kind: `"texts"`, `"classes"`, `"tags"` (a label for each word, in `labels`; the answers are
            the labels of the model), or `"value"` for one value of another type.
        answers: The answers, best first.
        scores: Their scores or probabilities, if they are known.
        labels: The labels of an input that may have several.
        word_probabilities: For tags, the probabilities of each word, in the order of the answers.
    """

    kind: Literal["texts", "classes", "tags", "value"]
    answers: list[Any]
    scores: list[float] | None = None
    labels: list[str] | None = None
    word_probabilities: list[list[float]] | None = None


def _answers(module: SequenceModule, values: list[Any], request: Request) -> list[_Found]:
    if not values:
        return []
    method = method_of(module)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnknownSymbolWarning)  # the command names the lines
        own = request.task == "predict" and is_overridden(type(module), "predict")
        if own and module.spec.target.needs_decoder and not (request.details or request.options):
            return [_Found("texts", [text]) for text in module.predict(values)]
        if method == "classify":
            return _classes(module, values)
        if "tag" in module.spec.target.methods:
            return _tags(module, values)
        if method == "predict":
            return [_Found("value", [value]) for value in module.predict(values)]
        return _texts(module, values, request)


def _classes(module: SequenceModule, values: list[Any]) -> list[_Found]:
    """The labels of each input, from the most probable one on."""
    chosen, probabilities = module.classify(values)
    labels = getattr(module.spec.target, "labels", None)
    assert labels is not None
    order = probabilities.argsort(dim=1, descending=True, stable=True)
    sorted_ = probabilities.gather(1, order)
    return [
        _Found(
            "classes",
            [labels[index] for index in row],
            numbers,
            one if isinstance(one, list) else None,
        )
        for row, numbers, one in zip(order.tolist(), sorted_.tolist(), chosen, strict=True)
    ]


def _tags(module: SequenceModule, values: list[Any]) -> list[_Found]:
    """A label for each word of each input."""
    tags, probabilities = module.tag(values)
    target: Any = module.spec.target
    return [
        _Found("tags", list(target.labels), None, labels, rows.tolist())
        for labels, rows in zip(tags, probabilities, strict=True)
    ]


def _texts(module: SequenceModule, values: list[Any], request: Request) -> list[_Found]:
    options = dict(request.options)
    several = options.get("num_return_sequences", 1) > 1
    if request.details:
        options["return_scores"] = True
    made: Any = (
        module.generate(prompts=values, **options)
        if module.spec.source is None
        else module.generate(values, **options)
    )
    texts, scores = made if request.details else (made, None)
    rows = texts if several else [[text] for text in texts]
    if scores is None:
        return [_Found("texts", row) for row in rows]
    numbers = scores.tolist() if several else [[score] for score in scores.tolist()]
    return [_Found("texts", row, said[: len(row)]) for row, said in zip(rows, numbers, strict=True)]


def _as_text(_item: Item, found: _Found, request: Request) -> str:
    """The answers separated by tabs; with details each after its score.

    The labels of words are separated by spaces. Of classes only the most probable label is written
    (of several labels those that apply), unless details are asked for.
    """
    if found.kind == "tags":
        return _tags_as_text(found, request)
    if found.labels is not None and not request.details:
        return "\t".join(to_single_line(one) for one in found.labels)
    single = found.scores is None and len(found.answers) == 1
    if single or (found.kind != "texts" and not request.details):
        return to_single_line(found.answers[0])
    answers = [to_single_line(one).replace("\t", " ") for one in found.answers]
    if found.scores is None:
        return "\t".join(answers)
    pairs = zip(found.scores, answers, strict=True)
    return "\t".join(f"{score:.4f}\t{text}" for score, text in pairs)


def _tags_as_text(found: _Found, request: Request) -> str:
    """The label of each word; with details each after its probability, separated by tabs."""
    assert found.labels is not None
    assert found.word_probabilities is not None
    if not request.details:
        return to_single_line(found.labels)
    best = [max(row) for row in found.word_probabilities]
    pairs = zip(best, found.labels, strict=True)
    return "\t".join(f"{probability:.4f}\t{label}" for probability, label in pairs)


def _answer_key(module: SequenceModule, request: Request) -> str:
    """The key of the answer in JSON output."""
    target = module.spec.target
    if target.needs_decoder:
        return "answers" if request.options.get("num_return_sequences", 1) > 1 else "text"
    if "classify" in target.methods and not isinstance(target, MultiLabelSpec):
        return "label"
    return "labels" if target.methods else "prediction"


def _as_json(item: Item, found: _Found, request: Request) -> str:
    """An object with the input (of arrays its place) and its answers."""
    given = item.value if isinstance(item.value, str | list) else item.place
    said: dict[str, Any] = {INPUT_NAMES[request.task]: given}
    if found.kind == "value":
        (value,) = found.answers
        said["prediction"] = value.tolist() if hasattr(value, "tolist") else value
    elif found.kind == "tags":
        said["labels"] = found.labels
        if request.details and found.word_probabilities is not None:
            said["probabilities"] = [
                dict(zip(found.answers, [round(p, 6) for p in row], strict=True))
                for row in found.word_probabilities
            ]
    elif found.kind == "classes":
        if found.labels is None:
            said["label"] = found.answers[0]
        else:
            said["labels"] = found.labels
        if request.details and found.scores is not None:
            rounded = [round(score, 6) for score in found.scores]
            said["probabilities"] = dict(zip(found.answers, rounded, strict=True))
    else:
        keys = ("text", "score") if found.scores is not None else ("text",)
        columns = [found.answers, *([found.scores] if found.scores is not None else [])]
        answers = [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
        several = request.options.get("num_return_sequences", 1) > 1
        said |= {"answers": answers} if several else answers[0]
    return json.dumps(said, ensure_ascii=False, default=str)
