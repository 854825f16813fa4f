"""Notice ranks that die or stall, and end the others.

Rank 0 listens; every other rank holds one connection to it, over which both sides send a report
each second, from a thread of their own. A connection that closes without a last message belongs
to a rank that has died. A rank that sends no report is stopped, or cannot be reached. If all ranks
report but none makes progress, they wait for the one that is behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PERIOD = 1.0
"""Seconds between reports."""

MARGIN = 10.0
"""Seconds for what should take milliseconds: an answer, or the end of a process after an error."""


class Peer:
    """The connection to another rank, and what is known of that rank."""

    def __init__(self, connection: socket.socket, rank: int) -> None:
        connection.settimeout(MARGIN)
        self.connection, self.rank = connection, rank
        self.last_message = time.monotonic()
        self.count, self.idle = 0, 0.0
        self._unread = b""
        self._lock = threading.Lock()

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have arrived; `None` once the connection is closed."""
        try:
            received = self.connection.recv(1 << 16)
        except OSError:
            return None
        if not received:
            return None
        self.last_message = time.monotonic()
        *whole, self._unread = (self._unread + received).split(b"\n")
        return [json.loads(line) for line in whole]

    def send(self, **message: Any) -> None:
        """Send a message. That a peer is gone is noticed where its messages are received."""
        with self._lock, contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")


class RankWatch:
    """The watch of one rank over the others.

    Args:
        rank: The rank of this process.
        timeout: Seconds without progress, or without a report, after which a rank is stalled.
        end: Ends this process; called in the thread of the watch, with the rank at fault, one
            sentence on what happened to it, and whether it is stalled.
    """

    def __init__(self, rank: int, timeout: float, end: Callable[[int, str, bool], None]) -> None:
        self.rank, self.timeout = rank, timeout
        self.verdict = ""
        self._end = end
        self._count, self._progress = 0, time.monotonic()
        self._leaving = False
        self._known, self._finished = threading.Event(), threading.Event()
        self._peers: dict[int, Peer] = {}
        self._server: socket.socket | None = None
        self._token = ""

    def listen(self, *, local: bool) -> tuple[int, str]:
        """Listen on rank 0.

        Args:
            local: Whether all ranks are on this machine.

        Returns:
            The port, and a secret that the other ranks must show.

        Raises:
            OSError: If this machine allows no listening.
        """
        self._server = socket.create_server(("127.0.0.1" if local else "", 0), backlog=128)
        self._token = secrets.token_hex(16)
        return self._server.getsockname()[1], self._token

    def start(self, address: str = "", port: int = 0, token: str = "") -> None:
        """Start the watch: on rank 0 after `listen`; on others by connecting to rank 0.

        Raises:
            OSError: If rank 0 cannot be reached.
        """
        if self.rank > 0:
            self._peers[0] = Peer(socket.create_connection((address, port), timeout=60), 0)
            self._peers[0].send(token=token, rank=self.rank)
        self.progress()
        threading.Thread(target=self._run, name="rank-watch", daemon=True).start()

    def progress(self) -> None:
        """Record that the main thread has come further."""
        self._count += 1
        self._progress = time.monotonic()

    def leave(self, error: str = "") -> None:
        """End the watch, and tell the others.

        Args:
            error: Why the run of this rank has failed; empty if it has ended as it should.
        """
        if self._leaving:
            return
        self._leaving = True
        self._tell(self.rank, error, stalled=False)
        answered_by = time.monotonic() + MARGIN
        while self._peers and time.monotonic() < answered_by:  # emptied by the thread
            time.sleep(0.005)

    def wait_for_verdict(self) -> str:
        """What has happened to another rank; empty if nothing becomes known."""
        self._known.wait(MARGIN)
        return self.verdict

    def _tell(self, rank: int, error: str, *, stalled: bool) -> None:
        for peer in list(self._peers.values()):
            peer.send(rank=rank, error=error, stalled=stalled)

    def _run(self) -> None:
        due = time.monotonic()
        while self._peers or (self._server is not None and not self._leaving):
            sources = {peer.connection: peer for peer in self._peers.values()}
            servers = [] if self._server is None else [self._server]
            wait = PERIOD if self._leaving else max(0.0, due - time.monotonic())
            ready, _, _ = select.select([*sources, *servers], [], [], wait)
            for source in ready:
                if source in sources:
                    self._receive(sources[source])
                else:
                    self._accept(source)
            # By the clock, not after each message: two sides would answer each other without end.
            if not self._leaving and (now := time.monotonic()) >= due:
                due = now + PERIOD
                idle = now - self._progress
                for peer in self._peers.values():
                    peer.send(count=self._count, idle=idle)
                self._find_stalled(idle)
        for peer in list(self._peers.values()):
            self._drop(peer)
        if self._server is not None:
            self._server.close()
        self._finished.set()

    def _accept(self, server: socket.socket) -> None:
        """Accept the connection of a rank that shows the secret."""
        connection, _ = server.accept()
        connection.settimeout(MARGIN)
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            hello = json.loads(connection.makefile("rb").readline(1000))
            if secrets.compare_digest(hello["token"], self._token):
                self._peers[int(hello["rank"])] = Peer(connection, int(hello["rank"]))
                return
        connection.close()

    def _receive(self, peer: Peer) -> None:
        messages = peer.receive()
        if messages is None:
            self._drop(peer)
            self._judge(peer.rank, "has died (its connection was closed)", stalled=False)
            return
        for message in messages:
            if "count" in message:
                peer.count, peer.idle = message["count"], message["idle"]
                continue
            if message.get("error"):
                self._judge(message["rank"], message["error"], message["stalled"])
            if "error" in message:
                peer.send(bye=True)
            # Neither side sends anything after its last message: closing a connection before all is
            # received would reset it, and what was sent before might be lost.
            self._drop(peer)

    def _drop(self, peer: Peer) -> None:
        self._peers.pop(peer.rank, None)
        peer.connection.close()

    def _find_stalled(self, idle: float) -> None:
        now = time.monotonic()
        # Rank 0 reports a silent rank before the other ranks time out and report rank 0.
        allowed = self.timeout + (MARGIN if self.rank else 0)
        for peer in list(self._peers.values()):
            if (silent := now - peer.last_message) > allowed:
                self._judge(peer.rank, f"is stalled: no report for {silent:.0f} s", stalled=True)
        idle = min([idle, *(peer.idle for peer in self._peers.values())])
        if self.rank > 0 or not self._peers or idle <= self.timeout:
            return
        counts = {0: self._count} | {rank: peer.count for rank, peer in self._peers.items()}
        behind = min(counts, key=lambda rank: counts[rank])
        others = "all other ranks, too" if len(set(counts.values())) == 1 else "others wait for it"
        words = f"is stalled: no progress for {idle:.0f} s ({others})"
        self._judge(behind, words, stalled=True)

    def _judge(self, rank: int, words: str, stalled: bool) -> None:
        """End this process because of another, or because it is stalled; tell the others first."""
        if self.verdict or self._leaving:
            return
        self.verdict = f"rank {rank} {words}"
        if self.rank == 0:
            self._tell(rank, words, stalled=stalled)
        self._known.set()
        threading.Thread(
            target=self._end, args=(rank, self.verdict, stalled), name="rank-end", daemon=True
        ).start()


def end_process(message: str, *, at_once: bool) -> None:
    """Print a message and end this process with status 1, from any thread.

    Args:
        message: Nothing is printed if it is empty.
        at_once: Otherwise the main thread has `MARGIN` seconds to end by its own error.
    """
    if message:
        print(message, file=sys.stderr, flush=True)
    if not at_once:
        time.sleep(MARGIN)
    os._exit(1)
