from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest

from seqlearn.data import Text
from seqlearn.data.sources import multi30k
from seqlearn.data.sources.multi30k import BASE_URL, SHA256, Multi30k

SENTENCES = {
    "en": ["A dog runs .", "Two men sit on a bench .", "A girl in a red coat ."],
    "de": ["Ein Hund läuft .", "Zwei Männer sitzen auf einer Bank .", "Ein Mädchen im Mantel ."],
    "fr": ["Un chien court .", "Deux hommes sur un banc .", "Une fille en manteau rouge ."],
}
SIZES = {"train": 3, "val": 2, "test_2016_flickr": 1}


def write_files(folder: Path, languages: str = "en de fr", *, packed: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, size in SIZES.items():
        for language in languages.split():
            text = "".join(f"{line}\n" for line in SENTENCES[language][:size]).encode()
            name = f"{split}.{language}"
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(text))
            else:
                (folder / name).write_bytes(text)
    return folder


class Quiet(SimpleHTTPRequestHandler):
    asked: list[str]

    def __init__(self, *args: object, asked: list[str], **kwargs: object) -> None:
        self.asked = asked
        super().__init__(*args, **kwargs)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.asked.append(self.path)
        super().do_GET()


class Upstream(NamedTuple):
    url: str
    folder: Path
    asked: list[str]


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upstream]:
    """A server with small files whose digests are the expected ones."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SEQLEARN_CACHE", str(tmp_path / "cache"))
    folder = write_files(tmp_path / "served" / "raw")
    for path in folder.iterdir():
        monkeypatch.setitem(SHA256, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    asked: list[str] = []
    handler = partial(Quiet, directory=str(folder.parent), asked=asked)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Upstream(f"http://127.0.0.1:{server.server_port}/raw", folder, asked)
        server.shutdown()
        thread.join()


def pairs(source: str, target: str, size: int) -> list[tuple[str, str]]:
    return list(zip(SENTENCES[source], SENTENCES[target], strict=True))[:size]


def test_downloads_what_it_needs_when_it_needs_it(upstream: Upstream, tmp_path: Path):
    data = Multi30k(languages=("en", "fr"), base_url=f"{upstream.url}/")
    assert upstream.asked == []
    assert list(data.examples("train")) == pairs("en", "fr", 3)
    assert list(data.examples("val")) == pairs("en", "fr", 2)
    assert list(data.examples("test")) == pairs("en", "fr", 1)
    wanted = {f"{split}.{language}.gz" for split in SIZES for language in ("en", "fr")}
    assert sorted(upstream.asked) == sorted(f"/raw/{name}" for name in wanted)
    kept = (tmp_path / "cache" / "multi30k").iterdir()
    assert {path.name for path in kept if path.suffix != ".lock"} == wanted


def test_downloads_once_for_preparing_and_ever_after(upstream: Upstream):
    spec = Multi30k(base_url=upstream.url).spec
    assert len(upstream.asked) == 6
    assert Multi30k(base_url=upstream.url).spec == spec
    assert len(upstream.asked) == 6
    assert spec.joint_vocabulary


def test_prepared_data_needs_no_server(upstream: Upstream):
    first = Multi30k(base_url=upstream.url).fingerprint()
    assert Multi30k(base_url="http://127.0.0.1:9/gone").fingerprint() == first


def test_changed_file_is_refused(upstream: Upstream):
    (upstream.folder / "val.de.gz").write_bytes(gzip.compress(b"Etwas anderes\n"))
    with pytest.raises(ValueError, match=r"val\.de\.gz: expected a file with SHA-256"):
        _ = Multi30k(base_url=upstream.url).spec


def test_missing_upstream_is_said(upstream: Upstream):
    with pytest.raises(FileNotFoundError, match=r"elsewhere/\w+\.de\.gz: the server returned 404"):
        _ = Multi30k(base_url=f"{upstream.url}/elsewhere").spec


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("below", [".", "data/task1/raw"])
def test_reads_from_root_without_network(tmp_path: Path, below: str, *, packed: bool):
    write_files(tmp_path / below, packed=packed)
    data = Multi30k(str(tmp_path), ("de", "en"), base_url="http://127.0.0.1:9/gone")
    assert list(data.examples("train")) == pairs("de", "en", 3)
    assert [len(list(data.examples(split))) for split in ("val", "test")] == [2, 1]


def test_missing_files_in_root_are_named(tmp_path: Path):
    folder = write_files(tmp_path / "m", "en de")
    (folder / "val.de.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"/m: val\.de\.gz missing .*remove root") as e:
        Multi30k(str(tmp_path))
    assert "\n" not in str(e.value)
    with pytest.raises(FileNotFoundError, match=r"train\.fr\.gz, val\.fr\.gz, test_2016_flickr\.f"):
        Multi30k(str(folder), ("en", "fr"))
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; remove root"):
        Multi30k(str(tmp_path / "nowhere"))


def test_vocabularies_are_joint_unless_said_otherwise(tmp_path: Path):
    root = str(write_files(tmp_path))
    word = Text("word", lowercase=True)
    joint = Multi30k(root, source=word)
    assert joint.spec.joint_vocabulary
    assert joint.spec.source.encode(["ein DOG"]) == joint.spec.target.encode(["ein dog"])
    apart = Multi30k(root, source=word, target=Text("word"), joint=False)
    assert not apart.spec.joint_vocabulary
    with pytest.raises(ValueError, match="joint=True makes one vocabulary"):
        Multi30k(root, source=word, target=Text("char"))


@pytest.mark.parametrize("languages", [("en", "cs"), ("en", "en"), ("de", "xx")])
def test_other_languages_are_refused(languages: tuple[str, str]):
    with pytest.raises(ValueError, match=r"two of en, de, fr, got \('\w+', '\w+'\)"):
        Multi30k(languages=languages)


def test_every_file_has_a_digest_and_the_source_is_pinned():
    assert len(set(SHA256.values())) == len(SHA256) == 9
    assert all(len(digest) == 64 for digest in SHA256.values())
    assert "/master/" not in BASE_URL
    assert multi30k.Multi30k.__doc__ is not None
    assert "CC BY-NC-SA 4.0" in multi30k.Multi30k.__doc__


@pytest.fixture
def real_files(real_data: Path) -> Path:
    folder = real_data / "multi30k"
    if not folder.is_dir():
        pytest.skip(f"no multi30k/ in {real_data}")
    return folder


def test_digests_are_those_of_the_real_files(real_files: Path):
    for name, digest in SHA256.items():
        assert hashlib.sha256((real_files / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("languages", [("en", "de"), ("fr", "en")])
def test_reads_the_real_files(real_files: Path, languages: tuple[str, str]):
    data = Multi30k(str(real_files), languages)
    sizes = [sum(1 for _ in data.examples(split)) for split in ("train", "val", "test")]
    assert sizes == [29_000, 1_014, 1_000]
    if languages == ("en", "de"):
        first = next(iter(data.examples("test")))
        assert first == (
            "A man in an orange hat starring at something.",
            "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.",
        )
