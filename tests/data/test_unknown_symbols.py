"""Where symbols are that training does not have."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from lightning.pytorch.utilities import rank_zero_only

import seqlearn as sl
from seqlearn.data.column_encoders import ArrayEncoder
from seqlearn.data.fields import Field
from seqlearn.data.unknown_symbols import first_unknown, warn_of_unknown
from seqlearn.spec.raw_inputs import UnknownSymbolWarning

SUMMARY = {
    "counts": {"source": {"train": 0, "val": 1, "test": 0}},
    "first": {"source": {"val": [(0, "'c' at character 1")], "test": []}},
}


def test_the_first_symbol_of_a_long_text_is_found_without_the_rest() -> None:
    data = sl.data.PlainText([("ab cd " * 9,)], text=sl.data.Text("word"), window=4)
    spec: Any = data.spec.target
    seen: list[int] = []

    class Counting:
        def unknown_symbols(self, text: str) -> list[str]:
            seen.append(len(text))
            return list(spec.unknown_symbols(text))

    text = "ab cd " * 900 + "ef " + "ab " * 100_000
    assert first_unknown(Counting(), text) == "'ef' at character 5401"
    assert max(seen) < 20_000
    assert first_unknown(Counting(), "ab cd " * 900 + "abcd") == "'abcd' at character 5401"


def test_a_text_that_is_divided_says_where_its_part_starts() -> None:
    data = sl.data.PlainText([("a" * 80 + "b" + "a" * 19,)], val=0.25, window=4)
    with pytest.warns(UnknownSymbolWarning, match="row 0, from character 76: 'b' at character 6$"):
        data.setup("fit")


@pytest.mark.parametrize("rank", [0, 1])
def test_each_rank_stops_if_the_warning_is_an_error(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the others would wait for rank zero; it alone warns."""
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_unknown(SUMMARY, "{} row {}".format)
    assert len(caught) == (rank == 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnknownSymbolWarning)
        with pytest.raises(UnknownSymbolWarning, match="the first are val row 0: 'c'"):
            warn_of_unknown(SUMMARY, "{} row {}".format)


@dataclass(frozen=True)
class Ids(Field):
    """A field of a user: ids without a tokenizer, among them that of the unknown symbol."""

    spec_type: ClassVar[Any] = sl.TextSpec

    def check(self, value: Any) -> None:
        assert isinstance(value, list)

    def digest(self) -> None:
        return None

    def make_spec(self, values: Any) -> Any:
        return sl.TextSpec(9, 4)

    def make_column_encoder(self, spec: Any, describe_row: Any, *, is_target: bool) -> Any:
        return ArrayEncoder(spec, describe_row, is_target=is_target)


class Given(sl.data.SequenceDataModule):
    def examples(self, split: Any) -> Any:
        return [([4, 1, 5] if split == "val" else [4, 5], label) for label in "ab"]

    def fingerprint(self) -> str:
        return "ids with the unknown symbol"


def test_ids_without_a_tokenizer_are_left_alone() -> None:
    data = Given(Ids(), sl.data.Classes())
    assert data.dataset("val")[[0]].source.tolist() == [[4, 1, 5]]
