"""Folders of a trained module: saved, loaded, fetched from a hub and pushed to one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub
import pytest
import torch
from my_package import MyModel

import seqlearn as sl
from seqlearn.core import pretrained
from seqlearn.testing import TASKS, batch_of
from seqlearn.testing.cases import rich_examples


def transformer(**options: Any) -> sl.Transformer:
    return sl.Transformer(
        TASKS["sequence-to-sequence"], d_model=8, num_layers=1, num_heads=2, **options
    ).eval()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("tied", [False, True])
def test_every_task_comes_back(tmp_path: Path, task: str, tied: bool) -> None:
    spec = TASKS[task]
    tied = tied and isinstance(spec.target, sl.TextSpec)
    model = sl.LSTM(spec, d_model=4, tie_embeddings=tied).eval()
    model.save_pretrained(tmp_path / "a" / "b")
    loaded = sl.LSTM.from_pretrained(tmp_path / "a" / "b")
    assert not loaded.training
    assert loaded.spec == spec
    assert loaded.hparams == model.hparams
    batch = batch_of(spec, rich_examples(spec))
    assert torch.equal(loaded(batch), model(batch))
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    if tied:
        assert loaded.head.weight is loaded.target_embedding.weight


def test_raw_text_in_a_new_process(tmp_path: Path) -> None:
    """With the tokenizers of its training, the recipe, and nothing but the folder."""
    data = sl.data.Dates("en", "de")
    model = sl.GRU(data.spec, d_model=8, recipe=sl.Recipe(lr=0.5))
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        pretrained.CONFIG,
        pretrained.WEIGHTS,
    ]
    code = (
        "import sys, seqlearn as sl; m = sl.GRU.from_pretrained(sys.argv[1]); "
        "print(m.recipe.lr, m.generate(['May 1'], max_new_tokens=5))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == f"0.5 {model.generate(['May 1'], max_new_tokens=5)}"


def test_a_module_of_ones_own_and_overrides(tmp_path: Path) -> None:
    MyModel(TASKS["sequence-to-sequence"], d_model=6).save_pretrained(tmp_path)
    assert MyModel.from_pretrained(tmp_path).d_model == 6
    transformer(dropout=0.5).save_pretrained(tmp_path)
    loaded = sl.Transformer.from_pretrained(tmp_path, dropout=0.0)
    assert loaded.hparams.dropout == 0.0


def change(config: Path, **values: Any) -> None:
    plain = json.loads(config.read_text(encoding="utf-8")) | values
    config.write_text(
        json.dumps({k: v for k, v in plain.items() if v is not None}), encoding="utf-8"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": "seqlearn.pretrained/9"}, "expected the format 'seqlearn.pretrained/2', got"),
        ({"format": None}, r"one without 'format'; load the folder of another"),
        ({"class": "os.system"}, "got a changed or damaged file"),
        ({"sha256": "0" * 64}, r"config\.json: expected .* got a changed or damaged file"),
        ({"sha256 of this file": None}, "got a changed or damaged file"),
        ({"spec": {"source": 1}}, "got a changed or damaged file"),
        ({"arguments": {}}, "got a changed or damaged file .* pass changed arguments to from_pre"),
    ],
)
def test_a_changed_configuration_is_refused(
    tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    transformer().save_pretrained(tmp_path)
    change(tmp_path / pretrained.CONFIG, **values)
    with pytest.raises(ValueError, match=message):
        sl.Transformer.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", [pretrained.CONFIG, pretrained.WEIGHTS])
def test_damage_is_seen(tmp_path: Path, name: str) -> None:
    """Truncated at any place, or one bit turned: no byte goes unseen."""
    transformer().save_pretrained(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:place])
        with pytest.raises(ValueError, match=name):
            sl.Transformer.from_pretrained(tmp_path)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        weights = name == pretrained.WEIGHTS
        message = "expected the weights that belong to" if weights else r"config\.json"
        with pytest.raises(ValueError, match=message):
            sl.Transformer.from_pretrained(tmp_path)
    path.write_bytes(whole)
    sl.Transformer.from_pretrained(tmp_path)


def test_a_folder_of_another_class_is_refused(tmp_path: Path) -> None:
    transformer().save_pretrained(tmp_path)
    message = r"expected a module of .*GRU, got one of .*; load it with Transformer.from_pretrained"
    with pytest.raises(ValueError, match=message):
        sl.GRU.from_pretrained(tmp_path)


def test_weights_of_another_module_are_refused(tmp_path: Path) -> None:
    """Whole and of the same shapes, but not those that the configuration was written with."""
    transformer().save_pretrained(tmp_path / "one")
    transformer().save_pretrained(tmp_path / "two")
    (tmp_path / "one" / pretrained.WEIGHTS).replace(tmp_path / "two" / pretrained.WEIGHTS)
    with pytest.raises(ValueError, match="expected the weights that belong to"):
        sl.Transformer.from_pretrained(tmp_path / "two")


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no config\.json"):
        sl.Transformer.from_pretrained(tmp_path)
    transformer().save_pretrained(tmp_path)
    (tmp_path / pretrained.WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"there is no model\.safetensors"):
        sl.Transformer.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match="or a repository on the Hub"):
        sl.Transformer.from_pretrained(tmp_path / "none" / "such" / "folder")


class Hub(BaseHTTPRequestHandler):
    """As much of the Hub as a download asks for."""

    folder: Path
    commit = "c" * 40

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        owner, name, _, revision, file = self.path.strip("/").split("/", 4)
        path = self.folder / file
        there = (owner, name) == ("me", "dates") and revision in ("main", "v1") and path.is_file()
        body = path.read_bytes() if there else b""
        self.send_response(200 if there else 404)
        if not there:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("ETag", f'"{file}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return body

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a local hub serves as me/dates."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setattr(Hub, "folder", folder, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"

    def download(*args: Any, **options: Any) -> str:
        options |= {"endpoint": address, "cache_dir": tmp_path / "hub"}
        return huggingface_hub.hf_hub_download(*args, **options)

    monkeypatch.setattr(pretrained, "hf_hub_download", download)
    yield folder
    server.shutdown()
    server.server_close()


def test_from_a_hub(hub: Path) -> None:
    model = transformer()
    model.save_pretrained(hub)
    for revision in (None, "v1"):
        loaded = sl.Transformer.from_pretrained("me/dates", revision=revision)
        assert loaded.generate([[4, 5]], max_new_tokens=4) == model.generate(
            [[4, 5]], max_new_tokens=4
        )
    for name in ("me/other", "no repository at all"):
        with pytest.raises(FileNotFoundError, match=f"{name}: expected a folder .* found neither"):
            sl.Transformer.from_pretrained(name)


def test_to_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository is made first; what is pushed is what save_pretrained writes."""
    asked: list[Any] = []

    class Api:
        def __init__(self, **_options: Any) -> None:
            pass

        def create_repo(self, name: str, *, private: bool | None, exist_ok: bool) -> None:
            asked.append((name, private, exist_ok))

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> Any:
            asked.append((repo_id, commit_message))
            for path in Path(folder_path).iterdir():
                (tmp_path / path.name).write_bytes(path.read_bytes())
            return type("Commit", (), {"commit_url": "https://hub.example/commit/1"})

    monkeypatch.setattr(pretrained, "HfApi", Api)
    model = transformer()
    assert model.push_to_hub("me/dates", private=True) == "https://hub.example/commit/1"
    assert asked == [("me/dates", True, True), ("me/dates", "Upload a seqlearn model")]
    loaded = sl.Transformer.from_pretrained(tmp_path)
    assert torch.equal(loaded.head.weight, model.head.weight)
