"""Columns of tables: selecting them, finding their index, and checking cells and headers."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from babel import Locale
from lightning.pytorch.utilities import rank_zero_warn

Columns = tuple[int | str, int | str]
"""Two column names, or two column numbers from 1."""

_HEADERS = frozenset(
    re.findall(
        r"\w+",
        "answer article body category class col column comment context deutsch document englisch "
        "english français german highlights hypothesis id idx index input inputs key label labels "
        "lang language line name no nr num number original output outputs passage phonemes phrase "
        "prediction premise prompt quelle query question reference response review score sentence "
        "sentences sentiment simplified source src string summary tag tags target text texts tgt "
        "title token tokens topic transcript translation trg tweet utterance value word words ziel",
    )
)

_CODES = frozenset(
    re.findall(
        r"\w+",
        "ar bg ca cs da de el en es et fa fi fr hi hr hu it ja ko lt lv nl pl pt ro ru sk sl sv th "
        "tr uk vi zh "
        "ara ces chi deu dut eng est fra fre ger heb hin hun ita jpn kor lav lit nld nor pol por "
        "ron rus slk slv spa swe tha tur ukr vie zho",
    )
)
"""Language codes that are used as column names, in lower case; without English words (he, no)."""

_LOCALE = re.compile(r"[a-z]{2,3}[-_][A-Z]{2}")


def column_pair(columns: Sequence[int] | Sequence[str] | None, what: str) -> Columns | None:
    """Check and convert the argument `columns` of a source.

    Args:
        columns: Two column names, or two numbers from 1; `None` is returned unchanged.
        what: Meaning of the two, for the error: `"(source, target)"`.

    Raises:
        ValueError: If they are not two names or two numbers, or a number is below 1.
    """
    if columns is None:
        return None
    plain = [plain_cell(column) for column in columns]
    kinds = {type(column) for column in plain}
    if len(plain) != 2 or kinds not in ({int}, {str}):
        raise ValueError(f"expected columns={what}, two names or numbers, got {columns}")
    if any(isinstance(column, int) and column < 1 for column in plain):
        raise ValueError(f"expected column numbers from 1, got {columns}")
    return plain[0], plain[1]


def column_index(column: int | str, names: Sequence[str], where: str) -> int:
    """The index of a column, from 0, among the columns of a table.

    Raises:
        ValueError: If the table does not have it.
    """
    if isinstance(column, int):
        if column > len(names):
            raise ValueError(
                f"{where}: expected at least {column} columns, got {len(names)}; correct columns=, "
                f"or the table{delimiter_advice(names)}"
            )
        return column - 1
    if column not in names:
        raise ValueError(
            f"{where}: expected a column {column!r}, got {list(names)}{delimiter_advice(names)}"
        )
    return list(names).index(column)


def delimiter_advice(names: Sequence[str]) -> str:
    """Advice for a table with one column that contains another delimiter; empty for any other."""
    found = [sign for sign in (";", "\t", ",", "|") if len(names) == 1 and sign in names[0]]
    if not found:
        return ""
    return (
        f"; cells are divided by commas in a .csv file and by tabs in any other, but here by "
        f"{found[0]!r}: pass pandas.read_csv(file, sep={found[0]!r}), or convert the file"
    )


def column_title(column: int | str) -> str:
    """Describe a column in an error message: `column 2` or `column 'de'`."""
    return f"column {column!r}"


def default_columns(row: Mapping[str, Any], usual: tuple[str, ...], *, any_two: bool) -> Any:
    """Choose the columns of a table if the user named none; `None` if that is ambiguous.

    Args:
        row: A row of the table, or its names with any values.
        usual: Names that are chosen if all of them exist.
        any_two: Whether the columns of a table with exactly as many are chosen in their order; of a
            row with nested columns (`{"translation": {"en": …, "de": …}}`), the nested ones.
    """
    inner = [key for cell in row.values() if isinstance(cell, Mapping) for key in cell]
    if set(usual) <= {*row, *inner}:
        return usual
    names = inner or list(row)
    return tuple(names) if any_two and len(names) == len(usual) else None


def flat_names(row: Mapping[str, Any]) -> list[str]:
    """The column names of a row; a nested column is replaced by the names in it."""
    names: list[str] = []
    for name, cell in row.items():
        names.extend(cell if isinstance(cell, Mapping) else [name])
    return names


def cell_of(row: Mapping[str, Any], column: str, where: str) -> Any:
    """The cell of a named column, which may be nested in another column.

    Raises:
        ValueError: If there is no such column; the message lists the existing ones.
    """
    if column in row:
        return row[column]
    for cell in row.values():
        if isinstance(cell, Mapping) and column in cell:
            return cell[column]
    raise ValueError(f"{where}: expected a column {column!r}, got {flat_names(row)}")


def plain_cell(value: Any) -> Any:
    """Convert a numpy scalar to a Python value; return everything else unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def check_present(value: Any, where: str) -> None:
    """Check that a value is not missing: not `None`, NaN or pandas' `NA`.

    Raises:
        ValueError: If the value is missing.
    """
    missing = value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124
    if missing or type(value).__name__ in ("NAType", "NaTType"):
        raise ValueError(f"{where}: expected a value, got {value}; fill it in, or remove the row")


def check_text(value: Any, where: str, advice: str = "convert it with str") -> str:
    """Check that a cell is a string.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004 -- bad data is a ValueError everywhere
            f"{where}: expected a text, got {type(value).__name__} {str(value)[:40]!r}; {advice}"
        )
    return value


def looks_like_header(cells: Sequence[str]) -> bool:
    """Whether cells look like column names: `source`, `text_en`, `German`, `label`.

    Examples:
        >>> looks_like_header(["English", "German"]), looks_like_header(["en", "de"])
        (True, True)
        >>> looks_like_header(["a dog", "ein Hund"]), looks_like_header(["ab", "BA"])
        (False, False)
    """
    return all(_is_name(cell) for cell in cells)


class HeaderWarning:
    """Warns once of a first row that looks like column names but is read as an example."""

    def __init__(self) -> None:
        self._warned = False

    def check(self, cells: Sequence[Any], where: str, remedy: str) -> None:
        """Warn if all cells look like column names.

        Args:
            cells: The cells of the first row.
            where: Location of the row.
            remedy: What to do if they are names.
        """
        if self._warned or not all(isinstance(cell, str) for cell in cells):
            return
        if looks_like_header(cells):
            self._warned = True
            names = ", ".join(map(repr, cells))
            rank_zero_warn(
                f"{where}: {names} look like column names but are read as an example; if they are "
                f"names, {remedy}"
            )


def _is_name(cell: str) -> bool:
    cell = cell.strip()
    if cell in _CODES or _LOCALE.fullmatch(cell):
        return True
    words = [word for word in re.split(r"[\W_\d]+", cell.lower()) if word]
    known = _HEADERS | _CODES if len(words) > 1 else _HEADERS
    return 0 < len(words) <= 3 and all(w in known or w in _languages() for w in words)


@functools.cache
def _languages() -> frozenset[str]:
    """The English names of the CLDR's languages with a two-letter code."""
    names = Locale("en").languages.items()
    return frozenset(str(name).lower() for code, name in names if len(code) == 2)
