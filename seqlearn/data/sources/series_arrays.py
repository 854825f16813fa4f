"""Series as arrays, in memory or in `.npz` and `.npy` files, with a target for each."""

from __future__ import annotations

import hashlib
import itertools
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqlearn.data.cache import file_digest
from seqlearn.data.columns import plain_cell
from seqlearn.data.preparation import Split
from seqlearn.data.sources.series_tables import Found
from seqlearn.data.sources.text_files import digest_file, read_lines
from seqlearn.spec.raw_inputs import unmasked

ARRAY_SUFFIXES = (".npz", ".npy")


class SeriesArrays:
    """Arrays `time size` of unequal lengths, each with a target.

    Args:
        split: The split, for errors.
        series: A list of arrays, an array `series time size`, or a file: `.npz` with one array for
            each series, in the order of their names in the file, or `.npy` with an array
            `series time size`.
        targets: A list, an array, a `.npy` file, or a text file with one target on each line;
            `None` if the target is a part of the series.
        encoding: Encoding of a text file.

    Raises:
        ValueError: If a file is not one of these, or holds Python objects.
    """

    def __init__(self, split: Split, series: Any, targets: Any, encoding: str) -> None:
        self._split, self._encoding = split, encoding
        self._path = Path(series) if isinstance(series, str | os.PathLike) else None
        self._series = series
        self._targets_path = Path(targets) if isinstance(targets, str | os.PathLike) else None
        self._targets = targets
        first = next(self._arrays(), None)
        if first is None:
            raise ValueError(f"{split}: expected at least one series, got none")
        place, array = first
        shape = _array(array, place).shape
        if len(shape) not in (1, 2) or (len(shape) == 2 and not shape[1]):
            raise ValueError(f"{place}: expected an array (time, size), got one of shape {shape}")
        self.size = shape[1] if len(shape) == 2 else 1

    def digest(self) -> str:
        """Digest of the files or arrays."""
        parts = []
        for path, values in ((self._path, self._series), (self._targets_path, self._targets)):
            if path is not None:
                binary = path.suffix in ARRAY_SUFFIXES
                parts.append(file_digest(path) if binary else digest_file(self._split, path))
                continue
            digest = hashlib.sha256()
            for number, value in enumerate(() if values is None else values, 1):
                array = np.ascontiguousarray(_array(value, f"{self._split} series {number}"))
                digest.update(f"{array.dtype} {array.shape}\n".encode())
                whole = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
                digest.update(whole)
            parts.append(digest.hexdigest())
        return " ".join(parts)

    def rows(self) -> Iterator[Found]:
        """The series with their targets.

        Raises:
            ValueError: If there are more series than targets, or the reverse.
        """
        targets = None if self._targets is None else self._target_values()
        if targets is None:
            for place, array in self._arrays():
                yield Found(place, _array(array, place), ())
            return
        for number, (found, target) in enumerate(itertools.zip_longest(self._arrays(), targets)):
            if found is None or target is None:
                one, other = ("target", "series") if found is None else ("series", "target")
                raise ValueError(
                    f"{self._split}: expected one target for each series, but {one} "
                    f"{number + 1} has no {other}"
                )
            yield Found(found[0], _array(found[1], found[0]), (plain_cell(target),))

    def _arrays(self) -> Iterator[tuple[str, Any]]:
        """The place and the array of each series."""
        if self._path is None:
            for number, array in enumerate(self._series):
                yield f"{self._split} series {number + 1}", array
        elif self._path.suffix == ".npz":
            yield from self._from_archive(self._path)
        else:
            whole = _load(self._split, self._path)
            if whole.ndim != 3:
                raise ValueError(
                    f"{self._path}: expected an array (series, time, size), got one of shape "
                    f"{whole.shape}; save series of unequal lengths with numpy.savez(path, *series)"
                )
            for number, array in enumerate(whole):
                yield f"{self._path}, series {number + 1}", array

    def _from_archive(self, path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
        if not path.is_file():
            raise FileNotFoundError(f"{self._split}: expected a file at {path}, but there is none")
        try:
            with np.load(path, allow_pickle=False) as archive:
                for name in archive.files:
                    yield f"{path}, array {name!r}", archive[name]
        except (ValueError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: expected arrays of numbers as numpy.savez(path, *series) writes them "
                f"({error})"
            ) from error

    def _target_values(self) -> Iterator[Any]:
        if self._targets_path is None:
            return iter(self._targets)
        if self._targets_path.suffix == ".npy":
            return iter(_load(self._split, self._targets_path))
        return read_lines(self._split, self._targets_path, self._encoding)


def _array(value: Any, place: str) -> NDArray[Any]:
    """A value as an array.

    Raises:
        ValueError: If its vectors have different sizes.
    """
    try:
        return np.asarray(unmasked(value))
    except ValueError as error:
        sizes = sorted({np.size(vector) for vector in value})
        raise ValueError(
            f"{place}: expected vectors of one size, got vectors of {sizes[:5]} numbers"
        ) from error


def is_array_pair(given: Any) -> bool:
    """Whether a split is a pair of series and targets, and not a table."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        return False
    series = given[0]
    if isinstance(series, str | os.PathLike):
        return Path(series).suffix in ARRAY_SUFFIXES
    return isinstance(series, Sequence | np.ndarray) and (len(series) == 0 or depth(series) > 1)


def depth(value: Any) -> int:
    """How many axes nested lists or arrays have, by their first items; of a text or a row none.

    Examples:
        >>> depth([[1, 2], [3]]), depth(np.zeros((2, 3))), depth("word")
        (2, 2, 0)
    """
    if hasattr(value, "ndim"):
        return int(value.ndim)
    if not isinstance(value, list | tuple):
        return 0
    return 1 + (depth(value[0]) if len(value) else 0)


def _load(split: Split, path: Path) -> NDArray[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{split}: expected a file at {path}, but there is none")
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"{path}: expected numbers in NumPy's format, without Python objects, but {error}; "
            "save series of unequal lengths with numpy.savez(path, *series)"
        ) from error
