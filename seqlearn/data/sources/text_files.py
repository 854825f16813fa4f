"""Reading files of text: lines, records of CSV files, and errors that name file and line.

What the sources of files have in common. A name that ends in `.gz` is a gzip file.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from seqlearn.data.cache import file_digest
from seqlearn.data.preparation import Split


def read_lines(split: Split, path: Path, encoding: str) -> Iterator[str]:
    """The lines of a file; only the ends that files have count, not U+2028 and its kind.

    Args:
        split: What the file is for, to be named in errors.
        path: The file.
        encoding: Its encoding, as `normalize_encoding` gives it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, not in this encoding, or no gzip file in spite of its name.
    """
    count = 0
    try:
        with (
            open_file(split, path) as binary,
            io.TextIOWrapper(binary, encoding, newline="\n") as text,
        ):
            for line in text:
                count += 1
                yield line.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ValueError(decode_error_message(split, path, encoding)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected a gzip file, since its name ends in .gz, but after line {count}: "
            f"{error}; fetch it again or rename it"
        ) from error
    if not count:
        raise ValueError(f"{path}: expected lines of text, got an empty file; leave out {split}")


def read_csv(split: Split, path: Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of each record of a CSV file, after the number of the line it starts on.

    A cell in double quotes may hold commas, doubled quotes and ends of lines.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As `read_lines`, and if the quotes make no sense; the message names the line.
    """
    lines = (f"{line}\n" for line in read_lines(split, path, encoding))
    records = csv.reader(lines, strict=True)
    while True:
        start = records.line_num + 1
        try:
            cells = next(records, None)
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {start}: expected a record of a CSV file, but {error}; close what "
                "is quoted, and double a quote inside of quotes"
            ) from error
        if cells is None:
            return
        yield start, cells


def read_text(split: Split, path: Path, encoding: str) -> str:
    """All that is in a file, ends of lines as they are.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, not in this encoding, or no gzip file in spite of its name.
    """
    try:
        with open_file(split, path) as binary:
            text = binary.read().decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(decode_error_message(split, path, encoding)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected a gzip file, since its name ends in .gz: {error}; fetch it again or "
            "rename it"
        ) from error
    if not text:
        raise ValueError(f"{path}: expected text, got an empty file; leave it out of {split}")
    return text


def open_file(split: Split, path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The bytes of a file, unpacked if its name ends in `.gz`.

    Raises:
        FileNotFoundError: If there is no such file; the message names the split.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{split}: expected a file at {path}, but there is none")
    return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")


def decode_error_message(split: Split, path: Path, encoding: str) -> str:
    """Where a file is not in its encoding; reads it whole, since something is wrong anyway."""
    with open_file(split, path) as binary:
        content = binary.read()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, byte = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        return (
            f"{path}, line {line}, byte {byte}: {content[error.start : error.start + 1]!r} is not "
            f"{encoding.removesuffix('-sig')}; say encoding=, for example encoding='latin-1'"
        )
    return f"{path}: changed while it was read; try again"


def digest_file(split: Split, path: Path) -> str:
    """SHA-256 of a file as it lies there, in hexadecimal.

    Raises:
        FileNotFoundError: If there is no such file; the message names the split.
    """
    with open_file(split, path):
        return file_digest(path)


def check_not_empty(text: str, where: str, what_to_do: str) -> None:
    """Raise a `ValueError` for a text of nothing but blanks."""
    if not text.strip():
        raise ValueError(f"{where}: expected a text, got an empty one; {what_to_do}")


def normalize_encoding(encoding: str) -> str:
    """The encoding's own name, that for UTF-8 which leaves out the mark at the start.

    Raises:
        ValueError: If Python knows no such encoding.
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise ValueError(
            "expected an encoding that Python knows, such as 'utf-8' or 'latin-1', "
            f"got {encoding!r}"
        ) from error
    return "utf-8-sig" if name == "utf-8" else name
