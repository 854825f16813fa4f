"""Preparation of data: fits tokenizers and labels on the training split, and encodes all splits."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np

from seqlearn.atomic_files import disk_full, is_disk_full
from seqlearn.data.array_files import TextsWriter
from seqlearn.data.cache import CACHE_OPTION, CachedFolder, cached
from seqlearn.data.column_encoders import ColumnEncoder, DescribeRow
from seqlearn.data.encoded import EncodedDataset
from seqlearn.data.fields import Field
from seqlearn.data.length_limit import LengthLimit, warn_of_overflow
from seqlearn.data.progress import Progress
from seqlearn.data.tags_field import cut_tags, place_tags
from seqlearn.data.unknown_symbols import UnknownSymbols, warn_of_unknown
from seqlearn.spec import AlignedSpec, SequenceSpec

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Example = tuple[Any, Any]
"""Source and target: strings, sequences of numbers, or `None` for no source."""

_FORMAT = 6  # of the prepared files; increase it when they change
_CHUNK = 4096  # examples that are encoded at a time
_SUMMARY = "summary.json"
_CONTENT = "the prepared data"


@runtime_checkable
class Source(Protocol):
    """Protocol of a data module for preparation."""

    source: Field | None
    target: Field

    def examples(self, split: Split) -> Iterable[Example]:
        """All examples of a split, in order."""

    def fingerprint(self) -> str:
        """A string that differs whenever the examples differ."""

    def describe_location(self, split: Split, row: int) -> str:
        """Describe an example in error messages."""


class Prepared(NamedTuple):
    """Prepared data.

    Attributes:
        spec: The types of source and target.
        datasets: The encoded examples of each split.
        folder: The files, which are not deleted while this is in use.
    """

    spec: SequenceSpec
    datasets: dict[Split, EncodedDataset]
    folder: CachedFolder


def prepare(data: Source) -> Prepared:
    """Load all splits from the cache; encode them first if they are not there.

    Warns, once for each side, of tokens in `val` and `test` that do not occur in `train`, and of
    training examples that were dropped or truncated.

    Raises:
        ValueError: If an example is invalid (the message names it), or the data does not support
            the fields' settings.
        OSError: If a file cannot be read, or the cache cannot be written.
    """
    opened = cached(_key(data), partial(_build, data), _about(data))
    folder = opened.path
    summary = json.loads((folder / _SUMMARY).read_text(encoding="utf-8"))
    warn_of_unknown(summary["unknown"], data.describe_location)
    warn_of_overflow(summary["overflow"], _fields(data), partial(data.describe_location, "train"))
    spec = SequenceSpec.from_dict(summary["spec"])
    return Prepared(spec, {split: EncodedDataset(folder, split) for split in SPLITS}, opened)


def digest_examples(data: Source) -> str:
    """Compute a fingerprint from all examples.

    Raises:
        ValueError: If an example does not fit the fields.
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        digest.update(f"\n{split}\n".encode())
        for pair in _checked(data, split):
            plain = json.dumps(pair, ensure_ascii=False, default=_plain)
            digest.update(plain.encode() + b"\n")
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """An array, tensor, scalar or other sequence as plain data."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Sequence):
        return list(value)
    raise ValueError(
        f"cannot compute a fingerprint of {type(value).__name__} {value!r:.60}; pass lists, arrays "
        "or strings, or override fingerprint()"
    )


def _key(data: Source) -> str:
    fields: list[Any] = []
    for field in (data.source, data.target):
        plain = None if field is None else {"kind": _class_of(field), **asdict(cast(Any, field))}
        if field is not None and (digest := field.digest()) is not None:
            fields.append(digest)
        fields.append(plain)
    parts = [_FORMAT, fields, data.source is data.target, data.fingerprint()]
    if _may_change_examples(type(data)):
        parts.append(digest_examples(data))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _class_of(field: Field) -> str:
    """The name of a field's class; of a user's class with its source, if Python has it."""
    cls = type(field)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if cls.__module__.partition(".")[0] == "seqlearn":
        return name
    with contextlib.suppress(OSError, TypeError):  # of a notebook or a prompt there may be none
        name += f" {inspect.getsource(cls)}"
    return name


def _may_change_examples(cls: type) -> bool:
    """Whether a user's subclass may have other examples than the class with the fingerprint.

    The fingerprint of a class without examples of its own is one of all examples.
    """
    number = next(n for n, each in enumerate(cls.__mro__) if "fingerprint" in vars(each))
    own = [each for each in cls.__mro__[:number] if not each.__module__.startswith("seqlearn.")]
    computed_by: Any = cls.__mro__[number]
    return bool(own) and not inspect.isabstract(computed_by)


def _about(data: Source) -> dict[str, Any]:
    """What the data is, for `seqlearn cache`."""
    joint = ", joint vocabulary" if data.source is data.target else ""
    text = f"source={data.source!r}, target={data.target!r}{joint}"
    return {"name": type(data).__name__, "text": text}


def _build(data: Source, folder: Path) -> None:
    """Write all encoded splits and a summary."""
    if next(iter(_checked(data, "train")), None) is None:
        raise ValueError(
            f"{type(data).__name__} has no training examples (examples('train') is empty)"
        )
    progress = Progress()
    sides = {"source": _side(data, 0, progress), "target": _side(data, 1, progress)}
    unknown = UnknownSymbols()
    limit = LengthLimit(_fields(data), partial(data.describe_location, "train"))
    for split in SPLITS:
        encoders = _encode(data, split, sides, folder, limit, unknown, progress)
        for name, column in encoders.items():
            sides[name] = column.update_spec(sides[name], split)
            unknown.count(split, name, column.unknown)
    joint = data.source is data.target
    spec = SequenceSpec(sides["source"], sides["target"], joint)
    found = {"unknown": unknown.summary(), "overflow": limit.summary()}
    summary = json.dumps({"spec": spec.to_dict()} | found)
    (folder / _SUMMARY).write_text(summary, encoding="utf-8")


def _encode(
    data: Source,
    split: Split,
    sides: dict[str, Any],
    folder: Path,
    limit: LengthLimit,
    unknown: UnknownSymbols,
    progress: Progress,
) -> dict[str, ColumnEncoder]:
    """Write one split, and return its encoders by side."""
    describe_row = partial(data.describe_location, split)
    columns = {
        name: (
            number,
            field.make_column_encoder(sides[name], describe_row, is_target=name == "target"),
        )
        for number, (name, field) in enumerate(_fields(data).items())
        if field is not None
    }
    # Generated texts are compared with the raw texts; a language model has no references.
    evaluated = split != "train" and data.source is not None and sides["target"].is_readable_text
    references = TextsWriter(folder, f"{split}.references") if evaluated else None
    for name, (_, column) in columns.items():
        column.start(folder, f"{split}.{name}")
    examples = progress.over(_checked(data, split), split, "encoding")
    row = 0
    while chunk := list(islice(examples, _CHUNK)):
        with _naming_need(folder, progress.total(split), row):
            applied = limit if split == "train" else None
            encoded = _encode_chunk(columns, chunk, row, sides, describe_row, applied)
            for name, (number, column) in columns.items():
                if split != "train":
                    texts = [pair[number] for pair in chunk]
                    unknown.keep_first(split, name, sides[name], texts, encoded[name], row)
                column.append(encoded[name])
            if references is not None:
                references.append(target for _, target in chunk)
        row += len(chunk)
    for _, column in columns.values():
        column.finish()
    if references is not None:
        references.finish()
    kept = limit.kept
    if split == "train" and kept is not None:
        if not len(kept):
            raise ValueError(
                f"max_length: all {row} training examples are longer and are dropped; increase it"
            )
        np.save(folder / f"{split}.rows.npy", kept, allow_pickle=False)
    return {name: column for name, (_, column) in columns.items()}


def _encode_chunk(
    columns: dict[str, tuple[int, ColumnEncoder]],
    chunk: Sequence[Example],
    row: int,
    sides: dict[str, Any],
    describe_row: DescribeRow,
    limit: LengthLimit | None,
) -> dict[str, Sequence[Any]]:
    """The encoded values of consecutive examples by side; `row` is the first one."""
    encoded: dict[str, Sequence[Any]] = {
        name: column.encode([pair[number] for pair in chunk], row)
        for name, (number, column) in columns.items()
    }
    aligned = isinstance(sides["target"], AlignedSpec)
    if aligned:
        texts = [source for source, _ in chunk]
        placing = (sides["source"], sides["target"], texts, encoded["target"])
        encoded["target"] = place_tags(*placing, describe_row, row)
    if limit is not None:
        encoded = limit.apply(encoded)
    if aligned:
        encoded["target"] = cut_tags(encoded["source"], encoded["target"])
    return encoded


@contextlib.contextmanager
def _naming_need(folder: Path, rows: int | None, done: int) -> Iterator[None]:
    """Context that writes a part of a split; an error of a full disk says what all of it needs.

    If there is no room for all of it, the error comes with the first part.

    Args:
        folder: The folder that is written to.
        rows: Number of examples of the split, if known.
        done: Number of examples that are written already.
    """

    def need(written: int) -> int | None:
        if not rows or not written:
            return None
        return sum(path.stat().st_size for path in folder.iterdir()) * rows // written

    before = need(done)
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise disk_full(folder.parent, _CONTENT, CACHE_OPTION, before) from error
    if not done and rows and rows > _CHUNK:
        total = need(_CHUNK)
        if total is not None and total > shutil.disk_usage(folder).free:
            raise disk_full(folder.parent, _CONTENT, CACHE_OPTION, total)


def _fields(data: Source) -> dict[str, Field | None]:
    return {"source": data.source, "target": data.target}


def _side(data: Source, number: int, progress: Progress) -> Any:
    """The spec of source (0) or target (1), as far as the training split decides it."""
    field = (data.source, data.target)[number]
    if field is None:
        return None
    both = (0, 1) if data.source is data.target else (number,)
    reading = False  # an error of the data already says where it is

    def values() -> Iterator[Any]:
        nonlocal reading
        reading = True
        task = f"fitting the {('source', 'target')[number]} to"
        for pair in progress.over(_checked(data, "train"), "train", task):
            yield from (pair[side] for side in both)
        reading = False

    try:
        return field.make_spec(values)
    except ValueError as error:
        if reading:
            raise
        raise ValueError(f"{('source', 'target')[number]}: {error}") from error


def _checked(data: Source, split: Split) -> Iterator[Example]:
    """The examples of a split, checked; an error names the invalid example."""
    examples: Iterable[Any] = data.examples(split)
    if not isinstance(examples, Iterable):
        raise TypeError(
            f"{type(data).__name__}.examples({split!r}): expected pairs of source and target (an "
            f"empty list for a missing split), got {type(examples).__name__}"
        )
    for row, pair in enumerate(examples):
        is_pair = isinstance(pair, tuple) or (
            isinstance(pair, Iterable) and not isinstance(pair, str | bytes | dict | set)
        )
        values = tuple(pair) if is_pair else ()
        if len(values) != 2:
            raise TypeError(
                f"{data.describe_location(split, row)}: expected a pair (source, target), got "
                f"{type(pair).__name__}: {pair!r:.60}"
            )
        try:
            source, target = (str(one) if isinstance(one, np.str_) else one for one in values)
            _check(data.source, source, "source")
            _check(data.target, target, "target")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{data.describe_location(split, row)}: {error}") from error
        yield source, target


def _check(field: Field | None, value: object, side: str) -> None:
    try:
        if field is not None:
            field.check(value)
        elif value is not None:
            raise ValueError(f"expected None, since this data has no source, got {value!r:.60}")
    except ValueError as error:
        raise ValueError(f"{side}: {error}") from error
