"""Arrays and texts in `.npy` files that are written in parts; large ones are memory-mapped."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

MMAP_THRESHOLD = 1 << 24
"""Files with more bytes are memory-mapped instead of read."""


class ArrayWriter:
    """Writes an array to a file in parts, so that it never has to fit in memory.

    The file is opened for each part only. It can be read once `finish` has written its length.

    Args:
        path: The file; it is replaced.
        dtype: The type of the numbers.
        shape: The shape of one row.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = ArrayWriter(Path(folder, "a.npy"), "int32")
        ...     writer.append(np.array([1, 2]))
        ...     writer.append(np.array([3]))
        ...     writer.finish()
        ...     read_array(Path(folder, "a.npy")).tolist()
        [1, 2, 3]
    """

    def __init__(self, path: Path, dtype: DTypeLike, shape: tuple[int, ...] = ()) -> None:
        self._path, self._dtype, self._shape = path, np.dtype(dtype), shape
        self.rows = 0
        self._path.write_bytes(b"")
        self._start = self._write_header()

    def append(self, rows: NDArray[Any]) -> None:
        """Append rows, `row …`."""
        part = np.ascontiguousarray(rows, self._dtype).reshape(len(rows), *self._shape)
        with self._path.open("ab") as file:
            file.write(part.data)
        self.rows += len(part)

    def finish(self) -> None:
        """Write the number of rows."""
        end = self._write_header()
        assert end == self._start, "numpy leaves room for longer shapes"

    def _write_header(self) -> int:
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.rows, *self._shape),
        }
        with self._path.open("r+b") as file:
            np.lib.format.write_array_header_1_0(file, header)
            return file.tell()


def read_array(path: Path) -> NDArray[Any]:
    """Read an array; above `MMAP_THRESHOLD` it is memory-mapped."""
    large = path.stat().st_size > MMAP_THRESHOLD
    array: NDArray[Any] = np.load(path, mmap_mode="r" if large else None, allow_pickle=False)
    return array


class TextsWriter:
    """Writes texts in parts, as their UTF-8 bytes and the offset of each text.

    Args:
        folder: The folder of the two files.
        name: The beginning of their names.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._bytes = ArrayWriter(folder / f"{name}.bytes.npy", "uint8")
        self._offsets = ArrayWriter(folder / f"{name}.offsets.npy", "int64")
        self._offsets.append(np.zeros(1))

    def append(self, texts: Iterable[str]) -> None:
        """Append texts."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = self._bytes.rows + np.cumsum([len(one) for one in encoded], dtype=np.int64)
        self._bytes.append(np.frombuffer(b"".join(encoded), np.uint8))
        self._offsets.append(ends)

    def finish(self) -> None:
        """Write the number of texts."""
        self._bytes.finish()
        self._offsets.finish()


class Texts:
    """The texts of a `TextsWriter`, read on access.

    Args:
        folder: The folder of the two files.
        name: The beginning of their names.

    Raises:
        FileNotFoundError: If there are none.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._bytes = read_array(folder / f"{name}.bytes.npy")
        self._offsets = read_array(folder / f"{name}.offsets.npy")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> str:
        """One text."""
        content = self._bytes[self._offsets[row] : self._offsets[row + 1]].tobytes()
        return content.decode("utf-8", "surrogatepass")
