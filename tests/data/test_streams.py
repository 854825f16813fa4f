from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqlearn.batch import SequenceBatch
from seqlearn.data.array_files import MMAP_THRESHOLD
from seqlearn.data.batching import BatchSampler
from seqlearn.data.encoded import EncodedDataset
from seqlearn.data.streams import BPTTWindow, StreamDataset, StreamPlan, plan_streams


@st.composite
def plans(draw: st.DrawFn) -> StreamPlan:
    """Any number of ids, any streams (more than ids, too), windows and ranks."""
    sizes = (st.integers(1, 400), st.integers(1, 9), st.integers(1, 20), st.integers(1, 4))
    ids, streams, window, world_size = (draw(size) for size in sizes)
    return StreamPlan(ids, streams, window, world_size)


epochs = st.none() | st.integers(0, 5)


def dealt(plan: StreamPlan, epoch: int | None, seed: int = 0) -> list[list[BPTTWindow]]:
    """What each rank gets in an epoch; `None` is the fixed order."""
    ranks = []
    for rank in range(plan.world_size):
        sampler = BatchSampler(plan, shuffle=epoch is not None, seed=seed, rank=rank)
        sampler.set_epoch(epoch or 0)
        ranks.append(list(sampler))
        assert len(ranks[-1]) == len(sampler) == plan.steps
    return ranks


def plain(windows: Iterable[BPTTWindow]) -> list[tuple[list[int], list[int], list[int], bool]]:
    return [
        (w.streams.tolist(), w.starts.tolist(), w.predicted.tolist(), w.continues_previous)
        for w in windows
    ]


def predicted(plan: StreamPlan, window: BPTTWindow) -> list[int]:
    """The places of the circular token stream that a batch predicts."""
    rows = zip(window.starts.tolist(), window.predicted.tolist(), strict=True)
    return [(start + i) % plan.num_tokens for start, count in rows for i in range(1, count + 1)]


@given(plans(), epochs)
def test_every_id_is_predicted_once(plan: StreamPlan, epoch: int | None) -> None:
    found = [
        place
        for windows in dealt(plan, epoch)
        for window in windows
        for place in predicted(plan, window)
    ]
    assert sorted(found) == list(range(plan.num_tokens))


@given(plans(), epochs)
def test_every_row_goes_on_where_it_was(plan: StreamPlan, epoch: int | None) -> None:
    for windows in dealt(plan, epoch):
        assert [window.continues_previous for window in windows] == [
            i > 0 for i in range(len(windows))
        ]
        for before, after in itertools.pairwise(windows):
            assert after.streams.tolist() == before.streams.tolist()
            assert (
                after.starts.tolist()
                == ((before.starts + before.predicted) % plan.num_tokens).tolist()
            )


@given(plans(), epochs)
def test_streams_are_equally_long_and_windows_full_but_for_the_last(
    plan: StreamPlan, epoch: int | None
) -> None:
    streams: dict[int, int] = {}
    for windows in dealt(plan, epoch):
        for window in windows:
            assert len(window.streams) == plan.num_streams
            assert window.predicted.min() >= 0
            for stream, count in zip(
                window.streams.tolist(), window.predicted.tolist(), strict=True
            ):
                streams[stream] = streams.get(stream, 0) + count
        assert all((window.predicted == plan.window).all() for window in windows[:-1])
        assert all((window.predicted <= plan.window).all() for window in windows)
    assert sorted(streams) == list(range(plan.num_streams * plan.world_size))
    assert max(streams.values()) - min(streams.values()) <= 1


@given(plans(), st.integers(0, 3), st.integers(0, 3))
def test_the_order_is_a_function_of_seed_and_epoch(plan: StreamPlan, seed: int, epoch: int) -> None:
    for one, two in zip(dealt(plan, epoch, seed), dealt(plan, epoch, seed), strict=True):
        assert plain(one) == plain(two)


def test_seeds_and_epochs_start_elsewhere_and_the_fixed_order_at_the_start() -> None:
    plan = StreamPlan(10_000, 3, 8)
    firsts = {int(plan.epoch(*order)[0].starts[0]) for order in ((0, 0), (0, 1), (1, 0), (7, 3))}
    assert len(firsts) == 4
    assert plan.sequential()[0].starts.tolist() == [0, 3333, 6666]


@given(plans())
def test_ranks_read_the_streams_that_one_process_would(plan: StreamPlan) -> None:
    alone = StreamPlan(plan.num_tokens, plan.num_streams * plan.world_size, plan.window)
    together = list(zip(*dealt(plan, 2), strict=True))
    for window, parts in zip(alone.epoch(0, 2), together, strict=True):
        for field in ("streams", "starts", "predicted"):
            joined = np.concatenate([getattr(part, field) for part in parts])
            assert joined.tolist() == getattr(window, field).tolist()


@given(plans(), st.integers(0, 9))
def test_a_resumed_pass_is_the_rest_and_continues(plan: StreamPlan, skipped: int) -> None:
    rank = plan.world_size - 1
    sampler = BatchSampler(plan, shuffle=True, rank=rank)
    whole = plain(sampler)
    with sampler.starting_at(0, skipped):
        assert plain(sampler) == whole[skipped:]
    assert plain(sampler) == whole


def test_a_long_text_costs_nothing_before_it_is_read() -> None:
    plan = plan_streams(10**12, 64, 768)
    windows = plan.epoch(0, 0)
    assert len(windows) == plan.steps == 1_302_083_334
    assert windows[-1].predicted.tolist() == [21, 21, 22] * 4
    assert windows[5:][0].continues_previous
    with pytest.raises(IndexError):
        windows[plan.steps]


def test_a_plan_keeps_the_budget() -> None:
    assert plan_streams(10_000, 64, 768, world_size=2) == StreamPlan(10_000, 12, 64, 2)
    assert plan_streams(10_000, 64, 767).num_streams == 11
    # A short text makes fewer streams, none of them shorter than a window.
    assert plan_streams(1000, 64, 768).num_streams == 15 - 3
    assert plan_streams(700, 64, 768).num_streams == 10
    assert plan_streams(700, 64, 768, world_size=2).num_streams == 5
    assert plan_streams(65, 64, 768, world_size=2).num_streams == 1
    assert plan_streams(65, 64, 768).steps == 2


def test_a_window_that_fits_neither_the_text_nor_the_budget() -> None:
    with pytest.raises(ValueError, match="batch_tokens of at least the window, 9, got 8"):
        plan_streams(100, 9, 8)
    with pytest.raises(
        ValueError, match=r"has 64 tokens .* too few for window=64; set window to at most 63"
    ):
        plan_streams(64, 64, 64)


# Ids of batches.


def written(folder: Path, ids: list[int], ends: list[int]) -> StreamDataset:
    np.save(folder / "train.target.values.npy", np.array(ids, dtype=np.int32))
    np.save(folder / "train.target.offsets.npy", np.array([0, *ends], dtype=np.int64))
    return StreamDataset(EncodedDataset(folder, "train"))


def check(batch: SequenceBatch, rows: list[list[int]], lengths: list[int]) -> None:
    assert batch.source is batch.source_lengths is batch.references is None
    assert batch.target.tolist() == rows
    assert batch.target_lengths is not None
    assert batch.target_lengths.tolist() == lengths


def test_the_ids_of_two_texts_in_two_streams(tmp_path: Path) -> None:
    data = written(tmp_path, [2, 10, 11, 12, 3, 2, 20, 21, 3], [5, 9])  # "2" starts, "3" ends
    assert len(data) == 9
    batches = [data[window] for window in StreamPlan(9, 2, 3).sequential()]
    check(batches[0], [[2, 10, 11, 12], [3, 2, 20, 21]], [4, 4])
    # The second stream goes round; the first is shorter.
    check(batches[1], [[12, 3, 0], [21, 3, 2]], [2, 3])
    assert len(batches) == 2
    assert [batch.continues_previous for batch in batches] == [False, True]
    assert batches[0].indices.tolist() == [0, 1]
    assert not batches[0].is_duplicate.any()


def test_a_stream_that_has_ended_predicts_nothing(tmp_path: Path) -> None:
    data = written(tmp_path, [2, 10, 11, 12, 3], [5])
    batches = [data[window] for window in StreamPlan(5, 2, 2).sequential()]
    check(batches[0], [[2, 10, 11], [11, 12, 3]], [3, 3])
    check(batches[1], [[11, 0], [3, 2]], [1, 2])


@given(plans(), epochs)
def test_batches_hold_the_ids_of_their_places(plan: StreamPlan, epoch: int | None) -> None:
    with TemporaryDirectory() as folder:
        data = written(
            Path(folder), list(range(plan.num_tokens)), [plan.num_tokens]
        )  # each id is its place
    for windows in dealt(plan, epoch):
        for window in windows:
            batch = data[window]
            assert batch.target_lengths is not None
            lengths = batch.target_lengths.tolist()
            assert batch.target.shape == (plan.num_streams, max(2, *lengths))  # a step at least
            labels = [
                token
                for row, length in zip(batch.target.tolist(), lengths, strict=True)
                for token in row[1:length]
            ]
            assert labels == predicted(plan, window)
            assert batch.target[:, 0].tolist() == window.starts.tolist()


def test_long_texts_stay_on_disk_and_a_copy_is_only_the_name(tmp_path: Path) -> None:
    count = MMAP_THRESHOLD // 4 + 1000
    ids = np.lib.format.open_memmap(
        tmp_path / "train.target.values.npy", mode="w+", dtype=np.int32, shape=(count,)
    )
    ids[-5:] = [4, 5, 6, 7, 8]  # the file is sparse: nothing else is written
    ids.flush()
    np.save(tmp_path / "train.target.offsets.npy", np.array([0, count], dtype=np.int64))
    encoded = EncodedDataset(tmp_path, "train")
    assert isinstance(encoded.target_ids, np.memmap)
    copied = pickle.dumps(StreamDataset(encoded))
    assert len(copied) < 1000
    window = BPTTWindow(
        np.array([0]), np.array([count - 5]), np.array([6]), continues_previous=True
    )
    check(pickle.loads(copied)[window], [[4, 5, 6, 7, 8, 0, 0]], [7])
