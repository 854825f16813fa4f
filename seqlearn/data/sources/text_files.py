"""Reading of text files: lines, CSV records and whole texts, with errors that name file and line.

A name that ends in `.gz` is a gzip file.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from seqlearn.data.file_digests import remembered_digest
from seqlearn.data.preparation import Split

CR = "\r"
"""Ends a line together with LF; alone, as on old Macintoshes, it is a character of the line."""

_LONGEST_CELL = 2**31 - 1  # what fits a C long everywhere; by default Python refuses 131,073


def read_lines(split: Split, path: Path, encoding: str) -> Iterator[str]:
    """The lines of a file; only LF and CR LF end a line, not U+2028 and similar characters.

    Args:
        split: The split of the file, for errors.
        path: The file.
        encoding: Its encoding, as `normalize_encoding` returns it.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is empty, not in this encoding, not a gzip file despite its name, or if
            all its lines end in CR.
    """
    count = 0
    try:
        with (
            open_file(split, path) as binary,
            io.TextIOWrapper(binary, encoding, newline="\n") as text,
        ):
            for line in text:
                count += 1
                if count == 1 and not line.endswith("\n") and CR in line.removesuffix(CR):
                    raise ValueError(
                        f"{path}: expected lines that end in LF or CR LF, got {line.count(CR)} CR "
                        "and no LF; convert the line ends, for example with tr '\\r' '\\n'"
                    )
                yield line.removesuffix("\n").removesuffix(CR)
    except UnicodeDecodeError as error:
        raise ValueError(decode_error_message(split, path, encoding)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected a gzip file, because its name ends in .gz, but after line {count}: "
            f"{error}; download it again or rename it"
        ) from error
    if not count:
        raise ValueError(f"{path}: expected lines of text, got an empty file; remove {split}")


def read_csv(split: Split, path: Path, encoding: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the first line and the cells of each record of a CSV file.

    A cell in double quotes may contain commas, doubled quotes and line ends.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: As `read_lines`, and if quotes are unbalanced; the message names the line.
    """
    return csv_records(read_lines(split, path, encoding), str(path))


def csv_records(lines: Iterable[str], name: str) -> Iterator[tuple[int, list[str]]]:
    """The number of the first line and the cells of each CSV record of lines without their ends.

    Args:
        lines: The lines.
        name: What they are called in errors.

    Raises:
        ValueError: If quotes are unbalanced; the message names the line.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    records = csv.reader((f"{line}\n" for line in lines), strict=True)
    while True:
        start = records.line_num + 1
        try:
            cells = next(records, None)
        except csv.Error as error:
            raise ValueError(
                f"{name}, line {start}: expected a record of a CSV file, but {error}; close the "
                "quotes, and double a quote inside of quotes"
            ) from error
        if cells is None:
            return
        yield start, cells


def read_text(split: Split, path: Path, encoding: str) -> str:
    """The content of a file, with unchanged line ends.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is empty, not in this encoding, or not a gzip file despite its name.
    """
    try:
        with open_file(split, path) as binary:
            text = binary.read().decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(decode_error_message(split, path, encoding)) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path}: expected a gzip file, because its name ends in .gz: {error}; download it "
            "again or rename it"
        ) from error
    if not text:
        raise ValueError(f"{path}: expected text, got an empty file; remove it from {split}")
    return text


def open_file(split: Split, path: Path) -> gzip.GzipFile | io.BufferedReader:
    """Open a file for reading bytes, decompressed if its name ends in `.gz`.

    Raises:
        FileNotFoundError: If the file does not exist; the message names the split.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{split}: expected a file at {path}, but there is none")
    return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")


def decode_error_message(split: Split, path: Path, encoding: str) -> str:
    """Describe the line and byte at which a file is not in its encoding."""
    with open_file(split, path) as binary:
        content = binary.read()
    try:
        content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, byte = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        return (
            f"{path}, line {line}, byte {byte}: {content[error.start : error.start + 1]!r} is not "
            f"{encoding.removesuffix('-sig')}; pass encoding=, for example encoding='latin-1'"
        )
    return f"{path}: changed during reading; try again"


def digest_file(split: Split, path: Path) -> str:
    """SHA-256 of a file (compressed, if it is), in hexadecimal.

    Raises:
        FileNotFoundError: If the file does not exist; the message names the split.
    """
    with open_file(split, path):
        return remembered_digest(path)


def check_not_empty(text: str, where: str, advice: str) -> None:
    """Raise a `ValueError` for an empty text, or one of whitespace only."""
    if not text.strip():
        raise ValueError(f"{where}: expected a text, got an empty one; {advice}")


def normalize_encoding(encoding: str) -> str:
    """The canonical name of an encoding; for UTF-8, `utf-8-sig`, which skips a byte order mark.

    Raises:
        ValueError: If Python does not support the encoding.

    Examples:
        >>> normalize_encoding("UTF8"), normalize_encoding("latin-1")
        ('utf-8-sig', 'iso8859-1')
    """
    try:
        name = codecs.lookup(encoding).name
    except LookupError as error:
        raise ValueError(
            "expected an encoding that Python supports, such as 'utf-8' or 'latin-1', "
            f"got {encoding!r}"
        ) from error
    return "utf-8-sig" if name == "utf-8" else name
