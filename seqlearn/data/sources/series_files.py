"""`SeriesFiles`: series of vectors from arrays and tables, with a class, a vector or a text."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import attrgetter, methodcaller
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlearn.data.fields import Classes, Field, Text
from seqlearn.data.length_limit import Overflow
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.series_field import Series
from seqlearn.data.sources.holdout import SplitReaders, fraction_of
from seqlearn.data.sources.series_arrays import ARRAY_SUFFIXES, SeriesArrays, depth, is_array_pair
from seqlearn.data.sources.series_tables import Found, SeriesColumns, SeriesTable
from seqlearn.data.sources.tables import Rows, split_tables
from seqlearn.data.sources.text_files import normalize_encoding
from seqlearn.data.vector_field import Vector

SeriesSplit = tuple[Any, Any] | str | Path | Rows
"""One split: series and targets, series alone (to forecast), or a table."""

_Reader = SeriesTable | SeriesArrays
_CLASSES = Classes()


class SeriesFiles(SequenceDataModule):
    """Series of vectors of unequal lengths as sources: of a class, a vector, a text or a forecast.

    A split is one of these:

    - a pair `(series, targets)`. The series are a list of arrays `time size`, an array
      `series time size`, a `.npz` file with one array for each series (`numpy.savez(path,
      *series)`), or a `.npy` file with an array `series time size`. The targets are a list, an
      array, a `.npy` file, or a text file with one target on each line;
    - a table with one row for each time step: a `.csv`, `.tsv` or `.parquet` file, a pandas or
      polars `DataFrame`, a dictionary of lists, a Hugging Face `Dataset` or a list of dictionaries.
      `id_column` says which series a row is of, `time_column` increases within a series, and the
      target columns have the same values in all rows of a series;
    - with `horizon`, only the series, or a table without target columns. The last `horizon` time
      steps of each series are the target: a vector of `horizon` × `size` numbers, step by step.

    Numbers are normalized with mean and deviation of the training split, which the spec keeps.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is the fraction of the training series
            that is drawn for validation instead of training.
        test: The test split, if there is one.
        target: The type of the targets: `Classes()`, `Text(…)` or `Vector(size)`. Ignored with
            `horizon`.
        horizon: Time steps to forecast.
        window: Most time steps of a source before the forecast; `None` for all. Only with
            `horizon`.
        id_column: The column that says which series a row is of.
        time_column: The column of times: numbers or ISO dates. `None` if the rows are in order and
            have no times.
        value_columns: The columns of numbers; by default all that have no other role. With
            `horizon`, columns of `target_columns` are left out.
        target_columns: The column of the target; for a `Vector`, one column for each number.
        missing: Whether numbers of the series may be missing (NaN, an empty cell); see `Series`.
        normalize: Whether series and vectors to predict are normalized.
        max_length: Maximum number of time steps of a training series, without `horizon`.
        overflow: How to treat a longer one: `"error"`, `"drop"` or `"truncate"`; see `Series`.
        encoding: Encoding of text files; a UTF-8 byte order mark is skipped.
        batch_tokens: Budget of a batch, see `SequenceDataModule`; a time step counts as a token.
        seed: Determines the order of training, and the fraction that is drawn.
        num_workers: Number of worker processes that slice batches.

    Raises:
        TypeError: If a split is none of the above.
        ValueError: If an argument is invalid, or series differ in size. Invalid rows raise when the
            data is prepared; the message names file and line, or series and time step.
        FileNotFoundError: If a file is missing.

    Examples:
        >>> series = [[[0.0], [1.0]], [[2.0], [1.0], [0.0]]]
        >>> data = SeriesFiles((series, ["up", "down"]))
        >>> [target for _, target in data.examples("train")]
        ['up', 'down']
    """

    def __init__(
        self,
        train: SeriesSplit,
        val: float | SeriesSplit | None = None,
        test: SeriesSplit | None = None,
        target: Classes | Vector | Text = _CLASSES,
        *,
        horizon: int | None = None,
        window: int | None = None,
        id_column: str = "id",
        time_column: str | None = "time",
        value_columns: Sequence[str] | None = None,
        target_columns: str | Sequence[str] = "label",
        missing: bool = False,
        normalize: bool = True,
        max_length: int | None = None,
        overflow: Overflow = "error",
        encoding: str = "utf-8",
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        if horizon is not None and horizon < 1:
            raise ValueError(f"expected a horizon of at least 1 time step, got {horizon}")
        if window is not None and (window < 1 or horizon is None):
            raise ValueError(
                f"expected a window of at least 1 time step, with horizon=, got window={window}, "
                f"horizon={horizon}"
            )
        if max_length is not None and horizon is not None:
            raise ValueError(
                "max_length is for series without horizon=, whose ends are the targets; set "
                "window= instead"
            )
        self.horizon, self.window = horizon, window
        self.val_fraction = fraction_of(val)
        self._missing, self._encoding = missing, normalize_encoding(encoding)
        names = (target_columns,) if isinstance(target_columns, str) else tuple(target_columns)
        values = None if value_columns is None else tuple(value_columns)
        self._columns = SeriesColumns(
            id_column, time_column, values, () if horizon is not None else names, names
        )
        readers: dict[Split, _Reader] = {}
        for split, given in split_tables(train, val, test).items():
            readers[split] = reader = self._reader(split, given)
            if isinstance(reader, SeriesTable):  # a column means the same in every split
                self._columns = self._columns._replace(values=reader.value_names)
        size = readers["train"].size
        for split, reader in readers.items():
            if reader.size != size:
                raise ValueError(
                    f"expected series of one size in all splits, but train has {size} numbers in "
                    f"each time step and {split} has {reader.size}"
                )
        if horizon is not None:
            target = Vector(horizon * size, normalize=normalize)
        super().__init__(
            Series(
                size,
                normalize=normalize,
                missing=missing,
                max_length=max_length,
                overflow=overflow,
            ),
            _normalized(target, normalize=normalize),
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )
        label = attrgetter("target") if isinstance(target, Classes) else None
        self._splits: SplitReaders[_Reader, Found] = SplitReaders(
            readers, methodcaller("rows"), self.val_fraction, seed, label
        )

    def examples(self, split: Split) -> Iterator[tuple[Any, Any]]:
        """The series and targets of a split.

        Raises:
            ValueError: If a series is too short to forecast, or one of its last time steps has a
                missing number.
        """
        for found in self._splits.rows(split):
            if self.horizon is None:
                yield found.values, self._target(found)
            else:
                yield self._divided(found, self.horizon)

    def fingerprint(self) -> str:
        """Digest of the files, tables or arrays, and of the arguments that affect reading."""
        return self._splits.digest(self._columns, self._encoding, self.horizon, self.window)

    def describe_location(self, split: Split, row: int) -> str:
        """File and line where a series starts, or its number."""
        return self._splits.row(split, row)[1].place

    def _target(self, found: Found) -> Any:
        """The target of a series, as its field takes it."""
        if isinstance(self.target, Vector):
            given = found.target[0] if len(found.target) == 1 else found.target
            numbers = np.atleast_1d(np.asarray(given))
            return numbers if numbers.dtype.kind in "biuf" else [_number(n, found) for n in numbers]
        (cell,) = found.target
        whole = isinstance(cell, int) and not isinstance(cell, bool)
        return str(cell) if whole and isinstance(self.target, Classes) else cell

    def _divided(self, found: Found, horizon: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """The source and the forecast of a series."""
        if len(found.values) <= horizon:
            raise ValueError(
                f"{found.place}: expected more than horizon={horizon} time steps, got "
                f"{len(found.values)}; remove the series, or decrease horizon"
            )
        source, future = found.values[:-horizon], found.values[-horizon:]
        if self.window is not None:
            source = source[-self.window :]
        return source, np.asarray(future).reshape(-1)

    def _reader(self, split: Split, given: Any) -> _Reader:
        encoding = self._encoding
        if is_array_pair(given) and self.horizon is None:
            return SeriesArrays(split, given[0], given[1], encoding)
        if self.horizon is not None and isinstance(given, tuple | list) and depth(given) > 3:
            raise ValueError(
                f"{split}: expected series alone, because horizon= forecasts their last time "
                "steps, got a pair (series, targets)"
            )
        is_file = isinstance(given, str | os.PathLike)
        if (is_file and Path(given).suffix in ARRAY_SUFFIXES) or _is_arrays(given):
            if self.horizon is None:
                raise ValueError(
                    f"{split}: expected a pair (series, targets), got series alone; pass horizon= "
                    "to forecast"
                )
            return SeriesArrays(split, given, None, encoding)
        return SeriesTable(split, given, self._columns, missing=self._missing, encoding=encoding)


def _is_arrays(given: Any) -> bool:
    """Whether something is a list of arrays, or an array of series."""
    if isinstance(given, np.ndarray):
        return given.ndim == 3
    return isinstance(given, list | tuple) and depth(given) > 1


def _normalized(target: Field, *, normalize: bool) -> Field:
    """A vector to predict is normalized as the series are."""
    if isinstance(target, Vector) and normalize:
        return replace(target, normalize=True)
    return target


def _number(cell: Any, found: Found) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{found.place}: expected a number as target, got {str(cell)[:40]!r}"
        ) from error
