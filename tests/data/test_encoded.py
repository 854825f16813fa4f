from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from seqlearn.batch import END, PAD, SPECIAL_TOKENS, START
from seqlearn.data import Text, array_files
from seqlearn.data.array_files import TextsWriter
from seqlearn.data.column_encoders import ArrayEncoder, ClassEncoder, TextEncoder
from seqlearn.data.encoded import EncodedDataset
from seqlearn.data.tokenizers import text_spec, train_tokenizer
from seqlearn.spec import ClassesSpec, Side, TextSpec, VectorSpec

LETTERS = text_spec(train_tokenizer(Text(), ["abc"]))  # a, b, c are 4, 5, 6
SOURCES = ["abc", "", "b", "ca"]
TARGETS = ["a", "bb", "", "cab"]


def written(
    folder: Path, source: tuple[Side, list[object]] | None, target: tuple[Side, list[object]]
) -> EncodedDataset:
    for name, half in (("source", source), ("target", target)):
        if half is not None:
            column = encoder(half[0], is_target=name == "target")
            column.start(folder, f"val.{name}")
            for row, value in enumerate(half[1]):
                column.append(column.encode([value], row))
            column.finish()
    return EncodedDataset(folder, "val")


def encoder(side: Side, *, is_target: bool) -> TextEncoder | ClassEncoder | ArrayEncoder:
    if isinstance(side, TextSpec):
        return TextEncoder(side, "row {}".format, is_target=is_target)
    if isinstance(side, ClassesSpec):
        return ClassEncoder(side, "row {}".format)
    return ArrayEncoder(side, "row {}".format, is_target=is_target)


def texts(folder: Path) -> EncodedDataset:
    references = TextsWriter(folder, "val.references")
    references.append(TARGETS)
    references.finish()
    return written(folder, (LETTERS, list(SOURCES)), (LETTERS, list(TARGETS)))


def test_a_batch_is_sliced_padded_and_framed(tmp_path: Path) -> None:
    batch = texts(tmp_path)[[3, 1, 0]]
    assert batch.source is not None
    assert batch.source.tolist() == [[6, 4, PAD], [PAD] * 3, [4, 5, 6]]
    assert batch.source_lengths is not None
    assert batch.source_lengths.tolist() == [2, 0, 3]
    assert batch.target.tolist() == [
        [START, 6, 4, 5, END],
        [START, 5, 5, END, PAD],
        [START, 4, END, PAD, PAD],
    ]
    assert batch.target_lengths is not None
    assert batch.target_lengths.tolist() == [5, 4, 3]
    assert batch.references == ("cab", "bb", "a")
    assert {batch.source.dtype, batch.target.dtype, batch.target_lengths.dtype} == {torch.int64}


@given(st.lists(st.integers(-4, 3), min_size=1, max_size=9))
def test_a_batch_holds_what_its_rows_hold(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int]
) -> None:
    dataset = texts(tmp_path_factory.mktemp("rows"))
    batch = dataset[rows]
    assert batch.indices is not None
    assert batch.indices.tolist() == rows
    assert batch.is_duplicate.tolist() == [row < 0 for row in rows]
    real = [row if row >= 0 else ~row for row in rows]
    assert batch.references == tuple(TARGETS[row] for row in real)
    assert batch.source is not None
    assert batch.source.shape[1] == max(len(SOURCES[row]) for row in real)
    for ids, row in zip(batch.source.tolist(), real, strict=True):
        assert LETTERS.decode([ids]) == [SOURCES[row]]
    for ids, row in zip(batch.target.tolist(), real, strict=True):
        assert LETTERS.decode([ids]) == [TARGETS[row]]


def test_one_number_is_a_batch_of_one(tmp_path: Path) -> None:
    dataset = texts(tmp_path)
    assert dataset[2].target.tolist() == dataset[[2]].target.tolist() == [[START, END]]


def test_a_row_outside_is_refused(tmp_path: Path) -> None:
    for rows in ([0, 4], [~4]):
        with pytest.raises(IndexError, match="expected rows below 4, got 4"):
            texts(tmp_path)[rows]


def test_lengths_count_start_and_end_of_targets(tmp_path: Path) -> None:
    dataset = texts(tmp_path)
    assert dataset.source_lengths.tolist() == [3, 0, 1, 2]
    assert dataset.target_lengths.tolist() == [3, 4, 2, 5]
    assert len(dataset) == 4


def test_vectors_classes_and_no_source(tmp_path: Path) -> None:
    vectors: list[object] = [[1, 2.5], np.array([3, 4])]
    (tmp_path / "a").mkdir()
    dataset = written(tmp_path / "a", (VectorSpec(2), vectors), (LETTERS, ["a", "b"]))
    batch = dataset[[1, 0]]
    assert batch.source is not None
    assert batch.source.dtype == torch.float32
    assert batch.source.tolist() == [[3, 4], [1, 2.5]]
    assert batch.source_lengths is None
    assert batch.references is None
    assert dataset.source_lengths.tolist() == [1, 1]
    (tmp_path / "b").mkdir()
    dataset = written(
        tmp_path / "b", (LETTERS, ["a", ""]), (ClassesSpec(("de", "en")), ["en", "de"])
    )
    batch = dataset[[0, 1]]
    assert batch.target.tolist() == [1, 0]
    assert batch.target.dtype == torch.int64
    assert batch.target_lengths is None
    assert dataset.target_lengths.tolist() == [1, 1]
    (tmp_path / "c").mkdir()
    dataset = written(tmp_path / "c", None, (LETTERS, ["a"]))
    assert dataset[[0]].source is None
    assert dataset[[0]].source_lengths is None
    assert dataset.source_lengths.tolist() == [0]


def test_a_label_that_training_never_showed_is_named(tmp_path: Path) -> None:
    column = ClassEncoder(ClassesSpec(("de", "en")), "row {}".format)
    with pytest.raises(ValueError, match=r"row 1: the label 'fr' does not occur in .*'de', 'en'"):
        column.append(column.encode(["de", "fr"], 0))


def test_ids_that_a_tokenizer_must_not_give_are_found(tmp_path: Path) -> None:
    # Words of a vocabulary from elsewhere, in which the text "<s>" is the start itself.
    words = Tokenizer(
        models.WordLevel(dict(zip((*SPECIAL_TOKENS, "a", "b"), range(6), strict=True)))
    )
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    side = TextSpec(6, 0, words.to_str())
    column = TextEncoder(side, "row {}".format, is_target=False)
    column.start(tmp_path, "train.source")
    column.append(column.encode(["a b", ""], 0))
    with pytest.raises(ValueError, match="row 3: the tokenizer encodes a part of 'a <s> b' as"):
        column.append(column.encode(["", "a <s> b"], 2))


def test_unknown_tokens_and_the_longest_text_are_counted(tmp_path: Path) -> None:
    column = TextEncoder(LETTERS, "row {}".format, is_target=True)
    column.start(tmp_path, "train.target")
    column.append(column.encode(["abxx", "", "x"], 0))
    column.append(column.encode(["abc"], 0))
    assert (column.unknown, column.longest) == (3, 4)


def test_large_arrays_stay_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = texts(tmp_path)[[0, 3]]
    monkeypatch.setattr(array_files, "MMAP_THRESHOLD", 0)
    mapped = EncodedDataset(tmp_path, "val")
    assert isinstance(mapped._source.values, np.memmap)
    assert mapped[[0, 3]].target.equal(want.target)
    assert len(pickle.dumps(mapped)) < 500
    assert pickle.loads(pickle.dumps(mapped))[[0, 3]].target.equal(want.target)


def test_a_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no prepared data of the split 'val'"):
        EncodedDataset(tmp_path, "val")
