"""Ranks that die or stall are named, and those that end as they should are not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from seqlearn.callbacks import rank_watch
from seqlearn.callbacks.rank_watch import RankWatch

LONG = 600.0


def cut(peer: rank_watch.Peer) -> None:
    """Close a connection as the end of a process does."""
    with contextlib.suppress(OSError):
        peer.connection.shutdown(socket.SHUT_RDWR)


class Ranks:
    """The watches of some ranks, in one process; `ended` is what each would end with."""

    def __init__(self) -> None:
        self.watches: list[RankWatch] = []
        self.ended: dict[int, str] = {}

    def start(self, count: int, timeout: float = LONG) -> list[RankWatch]:
        for rank in range(count):
            self.watches.append(RankWatch(rank, timeout, self._end(rank)))
        place = self.watches[0].listen(local=True)
        self.watches[0].start()
        for watch in self.watches[1:]:
            watch.start("127.0.0.1", *place)
        self.until(lambda: len(self.watches[0]._peers) == count - 1)
        return self.watches

    def _end(self, rank: int) -> Any:
        def end(culprit: int, words: str, stalled: bool) -> None:
            assert words.startswith(f"rank {culprit} ")
            self.ended[rank] = f"{words}{' STALLED' if stalled else ''}"

        return end

    def until(self, holds: Any) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, self.ended
            time.sleep(0.01)

    def close(self) -> None:
        for watch in self.watches:
            watch._leaving = True
            for peer in list(watch._peers.values()):
                cut(peer)
        self.until(lambda: not any(t.name == "rank-watch" for t in threading.enumerate()))


@pytest.fixture
def ranks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ranks]:
    monkeypatch.setattr(rank_watch, "PERIOD", 0.02)
    made = Ranks()
    yield made
    made.close()


def test_reports_come_once_in_a_period(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for each report that arrives: then two sides would answer each other without end."""
    ranks.start(3)
    sent: list[rank_watch.Peer] = []
    send = rank_watch.Peer.send

    def count(peer: rank_watch.Peer, **message: Any) -> None:
        sent.append(peer)
        send(peer, **message)

    start = time.monotonic()
    monkeypatch.setattr(rank_watch.Peer, "send", count)
    ranks.until(lambda: len(sent) >= 40)
    # Two connections, both directions: four in a period, and four at once.
    assert time.monotonic() - start >= (40 / 4 - 2) * rank_watch.PERIOD
    assert not ranks.ended


@pytest.mark.parametrize("lost", [1, 2])
def test_a_closed_connection_is_a_rank_that_has_died(ranks: Ranks, lost: int) -> None:
    watches = ranks.start(3)
    cut(watches[lost]._peers[0])
    others = {0, 1, 2} - {lost}
    ranks.until(lambda: others <= set(ranks.ended))
    expected = f"rank {lost} has died (its connection was closed)"
    assert {ranks.ended[rank] for rank in others} == {expected}


def test_rank_0_is_named_by_all_others(ranks: Ranks) -> None:
    watches = ranks.start(3)
    watches[0]._leaving = True  # a process that is gone tells the others nothing
    for peer in list(watches[0]._peers.values()):
        cut(peer)
    ranks.until(lambda: {1, 2} <= set(ranks.ended))
    assert ranks.ended[1] == ranks.ended[2] == "rank 0 has died (its connection was closed)"


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_reaches_the_others_and_not_the_rank_itself(ranks: Ranks, failing: int) -> None:
    watches = ranks.start(3)
    watches[failing].leave("ended with ValueError: no")
    others = {0, 1, 2} - {failing}
    ranks.until(lambda: others <= set(ranks.ended))
    assert {ranks.ended[one] for one in others} == {f"rank {failing} ended with ValueError: no"}
    assert failing not in ranks.ended
    assert watches[min(others)].wait_for_verdict() == ranks.ended[min(others)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_ranks_may_end_in_any_order(ranks: Ranks, order: tuple[int, ...]) -> None:
    watches = ranks.start(3)
    start = time.monotonic()
    for rank in order:
        watches[rank].leave()
    assert time.monotonic() - start < rank_watch.MARGIN
    assert all(watch._finished.wait(300) for watch in watches)
    assert ranks.ended == {}


def test_the_rank_that_is_behind_is_stalled(ranks: Ranks) -> None:
    watches = ranks.start(3, timeout=1.0)
    for rank in (0, 2):
        watches[rank].progress()
    ranks.until(lambda: len(ranks.ended) == 3)  # the stalled rank ends, too: its thread runs
    (words,) = set(ranks.ended.values())
    assert words.startswith("rank 1 is stalled: no progress for 1 s (others wait for it)")
    assert words.endswith("STALLED")


def test_a_stall_of_all_ranks_is_said(ranks: Ranks) -> None:
    ranks.start(2, timeout=0.5)
    ranks.until(lambda: len(ranks.ended) == 2)
    assert "(all other ranks, too)" in ranks.ended[0]


def test_progress_of_one_rank_is_enough(ranks: Ranks) -> None:
    watches = ranks.start(2, timeout=1.0)
    for _ in range(30):
        watches[1].progress()
        time.sleep(0.05)
    assert ranks.ended == {}


@pytest.mark.parametrize("silent", [0, 1])
def test_a_silent_rank_is_stalled(
    ranks: Ranks, silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rank_watch, "MARGIN", 1.0)
    watches = ranks.start(2, timeout=0.5)
    watches[silent].timeout = LONG
    for peer in watches[silent]._peers.values():
        monkeypatch.setattr(peer, "send", lambda **_: None)
    watches[0].timeout = watches[0].timeout if silent else LONG
    ranks.until(lambda: 1 - silent in ranks.ended)
    assert ranks.ended[1 - silent].startswith(f"rank {silent} is stalled: no report for")


def test_a_connection_without_the_secret_is_refused(ranks: Ranks) -> None:
    watches = ranks.start(2)
    assert watches[0]._server is not None
    port = watches[0]._server.getsockname()[1]
    for hello in (b'{"token": "x", "rank": 1}\n', b"GET / HTTP/1.1\n", b"[]\n", b"\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=300) as other:
            other.sendall(hello)
            assert other.recv(10) == b""
    assert ranks.ended == {}
    assert list(watches[0]._peers) == [1]
