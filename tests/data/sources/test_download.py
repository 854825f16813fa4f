from __future__ import annotations

import hashlib
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from seqlearn.data.sources import download as module
from seqlearn.data.sources.download import download

BODY = bytes(range(256)) * 1500  # several chunks
DIGEST = hashlib.sha256(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves `BODY` in the way that the path names, and keeps a list of what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        first = len(self.server.asked) == 1
        way = self.path.strip("/")
        if way.isdigit() or (way == "busy" and first):
            self.send_error(int(way) if way.isdigit() else 503)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if way in ("no-ranges", "drops-no-ranges"):
            start = 0
        if start >= len(BODY):
            self.send_error(416)
            return
        body = BODY[::-1] if way == "wrong" else BODY
        if way == "slow":
            time.sleep(0.3)
        self.send_response(206 if start else 200)
        if start:
            named = 0 if way == "other-range" else start
            self.send_header("Content-Range", f"bytes {named}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = len(body)
        if way == "always-drops" or (way.startswith("drops") and first):
            end = start + (end - start) // 2
        self.wfile.write(body[start:end])


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


def test_fetches_into_a_new_folder_and_then_asks_no_more(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "a" / "b" / "file.bin"
    with caplog.at_level(logging.INFO):
        assert download(server.url("plain"), path, DIGEST) == path
        assert download(server.url("plain"), str(path), DIGEST) == path
    assert path.read_bytes() == BODY
    assert server.asked == [("/plain", None)]
    assert left_in(path.parent) == {"file.bin"}
    assert len([line for line in caplog.messages if "downloading" in line]) == 1


def test_a_file_that_is_there_needs_no_server(tmp_path: Path):
    path = tmp_path / "file.bin"
    path.write_bytes(BODY)
    assert download("http://127.0.0.1:9/gone", path, DIGEST) == path
    assert {one.name for one in tmp_path.iterdir()} == {"file.bin"}


def test_a_file_with_other_content_is_replaced(server: Server, tmp_path: Path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    download(server.url("plain"), path, DIGEST)
    assert path.read_bytes() == BODY


def test_a_broken_connection_is_continued_where_it_broke(server: Server, tmp_path: Path):
    path = tmp_path / "file.bin"
    download(server.url("drops"), path, DIGEST, pause=0)
    assert path.read_bytes() == BODY
    assert server.asked == [("/drops", None), ("/drops", f"bytes={len(BODY) // 2}-")]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path):
    path = tmp_path / "file.bin"
    download(server.url("drops-no-ranges"), path, DIGEST, pause=0)
    assert path.read_bytes() == BODY
    assert len(server.asked) == 2


def test_what_an_earlier_call_left_is_continued(server: Server, tmp_path: Path):
    path = tmp_path / "file.bin"
    path.with_name("file.bin.part").write_bytes(BODY[:1000])
    download(server.url("plain"), path, DIGEST)
    assert server.asked == [("/plain", "bytes=1000-")]
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("way", ["plain", "no-ranges", "other-range"])
@pytest.mark.parametrize("stale", [b"from another file", b"x" * len(BODY), b"y" * 2 * len(BODY)])
def test_what_does_not_fit_is_fetched_anew(server: Server, tmp_path: Path, way: str, stale: bytes):
    path = tmp_path / "file.bin"
    path.with_name("file.bin.part").write_bytes(stale)
    download(server.url(way), path, DIGEST, pause=0)
    assert path.read_bytes() == BODY
    assert left_in(tmp_path) == {"file.bin"}


def test_a_whole_part_is_taken_as_it_is(server: Server, tmp_path: Path):
    """A process may die between the last byte and the rename."""
    path = tmp_path / "file.bin"
    path.with_name("file.bin.part").write_bytes(BODY)
    download(server.url("plain"), path, DIGEST, pause=0)
    assert path.read_bytes() == BODY
    assert server.asked == []


def test_wrong_content_is_refused_and_removed(server: Server, tmp_path: Path):
    path = tmp_path / "file.bin"
    got = hashlib.sha256(BODY[::-1]).hexdigest()
    with pytest.raises(ValueError, match=f"expected a file with SHA-256 {DIGEST}, got {got}") as e:
        download(server.url("wrong"), path, DIGEST)
    assert "\n" not in str(e.value)
    assert left_in(tmp_path) == set()
    assert len(server.asked) == 1


@pytest.mark.parametrize("code", [404, 410])
def test_a_missing_file_is_said_at_once(server: Server, tmp_path: Path, code: int):
    with pytest.raises(FileNotFoundError, match=f"/{code}: the server returned {code}"):
        download(server.url(str(code)), tmp_path / "file.bin", DIGEST)
    assert len(server.asked) == 1
    assert left_in(tmp_path) == set()


def test_a_refusal_is_said_at_once(server: Server, tmp_path: Path):
    with pytest.raises(PermissionError, match="403 Forbidden; download the file manually"):
        download(server.url("403"), tmp_path / "file.bin", DIGEST)
    assert len(server.asked) == 1


def test_a_busy_server_is_tried_again(server: Server, tmp_path: Path):
    download(server.url("busy"), tmp_path / "file.bin", DIGEST, pause=0)
    assert len(server.asked) == 2


def test_gives_up_after_some_attempts_but_keeps_what_came(server: Server, tmp_path: Path):
    with pytest.raises(ConnectionError, match=r"gave up after 3 attempts \(the connection broke"):
        download(server.url("always-drops"), tmp_path / "file.bin", DIGEST, attempts=3, pause=0)
    assert len(server.asked) == 3
    assert (tmp_path / "file.bin.part").stat().st_size == len(BODY) // 8 * 7
    download(server.url("plain"), tmp_path / "file.bin", DIGEST)
    assert server.asked[-1] == ("/plain", f"bytes={len(BODY) // 8 * 7}-")


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pauses: list[float] = []
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    with pytest.raises(ConnectionError, match=r"gave up after 4 attempts .*check the network") as e:
        download(f"http://127.0.0.1:{port}/x", tmp_path / "file.bin", DIGEST)
    assert "\n" not in str(e.value)
    assert pauses == [1.0, 2.0, 4.0]
    assert left_in(tmp_path) == set()


def test_a_silent_server_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with pytest.raises(ConnectionError, match="timed out"):
            download(url, tmp_path / "file.bin", DIGEST, attempts=1, timeout=0.2)


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path):
    (tmp_path / "taken").write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(OSError, match=r"taken/file.bin: cannot be written .*writable folder") as e:
        download(server.url("plain"), tmp_path / "taken" / "file.bin", DIGEST)
    assert "\n" not in str(e.value)
    assert server.asked == []


def test_other_schemes_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="starts with http:// or https://, got 'file:///x'"):
        download("file:///x", tmp_path / "file.bin", DIGEST)


def test_two_processes_fetch_once(server: Server, tmp_path: Path):
    code = f"""
import importlib.util
spec = importlib.util.spec_from_file_location("download", {module.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.download({server.url("slow")!r}, {str(tmp_path / "file.bin")!r}, {DIGEST!r})
"""
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(600) for process in both] == [0, 0]
    assert len(server.asked) == 1
    assert (tmp_path / "file.bin").read_bytes() == BODY
