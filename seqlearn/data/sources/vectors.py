"""`Vectors`: vectors of numbers paired with texts, in either direction."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from seqlearn.data.cache import file_digest
from seqlearn.data.columns import plain_cell
from seqlearn.data.fields import Text
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.sources.holdout import SplitReaders, fraction_of
from seqlearn.data.sources.tables import KINDS, Rows, split_tables
from seqlearn.data.sources.text_files import (
    check_not_empty,
    digest_file,
    normalize_encoding,
    open_file,
    read_csv,
    read_lines,
)
from seqlearn.data.sources.vector_tables import TEXTS_ONLY, is_vector_table, vector_columns
from seqlearn.data.vector_field import Vector

Task = Literal["vector-to-sequence", "sequence-to-vector"]
VectorsAndTexts = tuple[str | Path | np.ndarray, str | Path | Sequence[str]]
"""One split: vectors and their texts."""

_TASKS = ("vector-to-sequence", "sequence-to-vector")
_CHARS = Text("char")


class Vectors(SequenceDataModule):
    """Vectors as sources of texts (data to text), or texts as sources of vectors (regression).

    A split is a pair `(vectors, texts)`, in this order for both tasks; or a table in memory (a
    pandas `DataFrame`, a dictionary of lists, a Hugging Face `Dataset`, a list of dictionaries or
    of tuples `(vector, text)`). `train` can be a `DatasetDict`, which then provides all splits. The
    vectors of a pair are an array `examples size` of real numbers, in memory or in a `.npy` file,
    or a `.csv` (or `.csv.gz`) file with one vector on each line and no header. The texts are
    strings, or a file (plain or `.gz`) with one non-empty text on each line. Row n belongs to
    line n.

    Numbers are converted to float32 without scaling; networks train best with zero mean and unit
    variance. A `.npy` file is memory-mapped.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is the fraction of the training split
            that is drawn for validation instead of training.
        test: The test split, if there is one.
        task: `"vector-to-sequence"` or `"sequence-to-vector"`.
        text: The tokenizer of the texts.
        columns: Vector and text column of tables. A vector is one column whose cells are vectors,
            or a list of several columns of numbers. By default the columns `vector` and `text`, or
            the only two.
        encoding: Encoding of the files; a UTF-8 byte order mark is skipped.
        batch_tokens: Budget of a batch, see `SequenceDataModule`; a vector counts as one token.
        seed: Determines the order of training, and the fraction that is drawn.
        num_workers: Number of worker processes that slice batches.

    Raises:
        TypeError: If a split is neither a pair nor a table, or if `text` is not a `Text`.
        ValueError: If an argument is invalid, a split has no texts, or arrays are not
            `examples size` with the same size in all splits. Invalid rows and lines raise when the
            data is prepared; the message names them.
        FileNotFoundError: If a file is missing; a file of texts raises when the data is prepared.

    Examples:
        >>> import numpy as np
        >>> data = Vectors((np.array([[0.0, 1.0], [1.0, 0.0]]), ["up", "right"]))
        >>> [(vector.tolist(), text) for vector, text in data.examples("train")]
        [([0.0, 1.0], 'up'), ([1.0, 0.0], 'right')]
        >>> data = Vectors(("x.npy", "y.txt"), val=0.1, test=("x2.npy", "y2.txt"))  # doctest: +SKIP
    """

    def __init__(
        self,
        train: VectorsAndTexts | Rows,
        val: float | VectorsAndTexts | Rows | None = None,
        test: VectorsAndTexts | Rows | None = None,
        task: Task = "vector-to-sequence",
        text: Text = _CHARS,
        *,
        columns: tuple[str | list[str], str] | None = None,
        encoding: str = "utf-8",
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        if task not in _TASKS:
            raise ValueError(
                f"expected task to be one of {', '.join(_TASKS)}, got {task!r}; {TEXTS_ONLY}"
            )
        # An argument check: a Vector or Classes here would be a misuse.
        if not isinstance(text, Text):
            raise TypeError(f"expected text=Text(...), got {text!r}; {TEXTS_ONLY}")
        codec = normalize_encoding(encoding)
        share = fraction_of(val)
        pairs = {
            split: _Pair(split, given, codec, columns)
            for split, given in split_tables(train, val, test).items()
        }
        first = pairs["train"].vectors
        for pair in pairs.values():
            if pair.vectors.size != first.size:
                raise ValueError(
                    f"expected vectors of one size in all splits, but {first.name} has {first.size}"
                    f" numbers in each and {pair.vectors.name} has {pair.vectors.size}"
                )
        vector = Vector(first.size)
        forward = task == "vector-to-sequence"
        super().__init__(
            vector if forward else text,
            text if forward else vector,
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )
        self.task = task
        self.encoding = codec
        self.val_fraction = share
        self._splits: SplitReaders[_Pair, tuple[int, Any, str]] = SplitReaders(
            pairs, _Pair.rows, share, seed
        )

    def examples(self, split: Split) -> Iterator[tuple[Any, Any]]:
        """Pairs of source and target of a split."""
        forward = self.task == "vector-to-sequence"
        return (
            (vector, text) if forward else (text, vector)
            for _, vector, text in self._splits.rows(split)
        )

    def fingerprint(self) -> str:
        """Digest of the files and arrays, and of the arguments that affect reading."""
        return self._splits.digest(self.task, self.encoding)

    def describe_location(self, split: Split, row: int) -> str:
        """Array or file and row of the vector, and file and line of the text."""
        pair, (number, _, _) = self._splits.row(split, row)
        return f"{pair.vectors.location(number)}, with {pair.texts.location(number)}"


class _Pair:
    """The vectors and the texts of one split."""

    def __init__(self, split: Split, given: Any, encoding: str, columns: Any) -> None:
        if columns is not None or is_vector_table(given):
            vectors, texts = vector_columns(split, given, columns)
        elif isinstance(given, tuple | list) and len(given) == 2:
            vectors, texts = given
        else:
            raise TypeError(
                f"{split}: expected a pair (vectors, texts), or a table ({KINDS}), "
                f"got {type(given).__name__} {str(given)[:40]!r}"
            )
        self.vectors = _vectors(split, vectors, encoding)
        self.texts = _Texts(split, texts, encoding)

    def digest(self) -> str:
        return f"{self.vectors.digest()} {self.texts.digest()}"

    def rows(self) -> Iterator[tuple[int, Any, str]]:
        """The number of each row from 0, its vector and its text."""
        vectors, texts = self.vectors.rows(), self.texts.rows()
        for row, (vector, text) in enumerate(itertools.zip_longest(vectors, texts)):
            if vector is None or text is None:
                more = row + 1 + sum(1 for _ in itertools.chain(vectors, texts))
                counts = (row, more) if vector is None else (more, row)
                raise ValueError(
                    f"{self.vectors.name} has {counts[0]} rows and {self.texts.name} has "
                    f"{counts[1]}; vector n must belong to text n"
                )
            check_not_empty(text, self.texts.location(row), "remove it and its vector")
            yield row, vector, text


class _Array:
    """An array in memory, or in a `.npy` file."""

    def __init__(self, name: str, array: NDArray[Any], path: Path | None) -> None:
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name}: expected real numbers, got an array of {array.dtype}")
        if array.ndim != 2 or not array.shape[1]:
            raise ValueError(
                f"{name}: expected an array of shape (examples, size), got {array.shape}"
            )
        self.name, self.size = name, array.shape[1]
        self._array, self._path = array, path

    def location(self, row: int) -> str:
        return f"{self.name}, row {row} (from 0)"

    def digest(self) -> str:
        if self._path is not None:
            return file_digest(self._path)
        array = np.ascontiguousarray(self._array)
        return f"{array.dtype} {array.shape} {hashlib.sha256(array.data).hexdigest()}"

    def rows(self) -> Iterator[NDArray[Any]]:
        return iter(self._array)


class _Csv:
    """A file with the numbers of one vector on each line."""

    def __init__(self, split: Split, path: Path, encoding: str) -> None:
        self._split, self._path, self._encoding = split, path, encoding
        self.name = str(path)
        self.size = len(next(read_csv(split, path, encoding))[1])

    def location(self, row: int) -> str:
        return f"{self.name}, line {row + 1}"

    def digest(self) -> str:
        return f"csv {digest_file(self._split, self._path)}"

    def rows(self) -> Iterator[list[float]]:
        for line, cells in read_csv(self._split, self._path, self._encoding):
            if len(cells) != self.size:
                raise ValueError(
                    f"{self.name}, line {line}: expected {self.size} numbers, as on line 1, "
                    f"got {len(cells)}; correct or remove the line"
                )
            yield [
                self._number(cell, f"{self.name}, line {line}, column {column}")
                for column, cell in enumerate(cells, start=1)
            ]

    def _number(self, cell: str, where: str) -> float:
        try:
            return float(cell)
        except ValueError as error:
            raise ValueError(
                f"{where}: expected a number, got {cell[:40]!r}; correct it (the file must have "
                "comma-separated numbers only, without a header)"
            ) from error


class _Texts:
    """Texts in memory, or lines of a file."""

    def __init__(self, split: Split, given: Any, encoding: str) -> None:
        self._split, self._encoding = split, encoding
        self._path = Path(given) if isinstance(given, str | os.PathLike) else None
        self.name = f"{split} texts" if self._path is None else str(self._path)
        self._texts: list[str] = []
        if self._path is not None:
            wrong = "a .npy file" if self._path.suffix == ".npy" else None
        elif isinstance(given, Iterable):
            self._texts = [plain_cell(text) for text in given]
            kinds = (type(text).__name__ for text in self._texts if not isinstance(text, str))
            wrong = next(kinds, None)
        else:
            wrong = type(given).__name__
        if wrong is not None:
            raise ValueError(
                f"{self.name}: expected a file of texts, or strings, got {wrong}; {TEXTS_ONLY}"
            )

    def location(self, row: int) -> str:
        if self._path is None:
            return f"{self.name}, row {row} (from 0)"
        return f"{self.name}, line {row + 1}"

    def digest(self) -> str:
        if self._path is not None:
            return digest_file(self._split, self._path)
        return hashlib.sha256(repr(self._texts).encode()).hexdigest()

    def rows(self) -> Iterator[str]:
        if self._path is None:
            return iter(self._texts)
        return read_lines(self._split, self._path, self._encoding)


def _vectors(split: Split, given: Any, encoding: str) -> _Array | _Csv:
    if not isinstance(given, str | os.PathLike):
        try:
            array = np.asarray(given)
        except ValueError as error:
            raise ValueError(
                f"{split} vectors: expected an array of shape (examples, size): {error}"
            ) from error
        return _Array(f"{split} vectors", array, None)
    path = Path(given)
    if path.name.endswith((".csv", ".csv.gz")):
        return _Csv(split, path, encoding)
    if path.suffix != ".npy":
        raise ValueError(
            f"{split}: expected vectors in a file that ends in .npy, .csv or .csv.gz, got {path}; "
            "a split is (vectors, texts), in this order"
        )
    with open_file(split, path):
        pass
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: expected numbers in NumPy's format, without Python objects, but {error}; "
            "save an array of numbers with numpy.save"
        ) from error
    return _Array(str(path), array, path)
