"""Files from others: they run no code, and damage to them is seen."""

from __future__ import annotations

import ast
import gzip
import json
import os
import pickle
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lightning as L
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from modules import MODULES
from torch.utils.data import DataLoader, Dataset

import seqlearn as sl
from seqlearn.introspect import Recording, Tokens
from seqlearn.testing import TASKS, batch_of
from seqlearn.testing.cases import rich_examples
from seqlearn.testing.trainer_stub import silence_lightning, trainer

HOSTILE = [
    "</text><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "&amp;\"'",
    "$\\frac",
]


class Evil:
    """What, unpickled, makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small GRU."""
    module = sl.GRU(TASKS["sequence-to-sequence"], d_model=4)
    path = tmp_path_factory.mktemp("safety") / "whole.ckpt"
    with silence_lightning():
        module.trainer = trainer()
        module.trainer.strategy.connect(module)
        module.trainer.save_checkpoint(path)
    return path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of a small Transformer."""
    torch.manual_seed(0)
    model = sl.Transformer(TASKS["sequence-to-sequence"], d_model=4, num_layers=1, num_heads=1)
    with sl.record(model) as recorded:
        model.generate([[4, 5]], max_new_tokens=3)
    path = tmp_path_factory.mktemp("safety") / "whole.safetensors"
    recorded.save(path)
    return path


LOADERS: dict[str, Callable[[Path], Any]] = {
    "checkpoint": sl.GRU.load_from_checkpoint,
    "recording": Recording.load,
}


@pytest.mark.parametrize("kind", [*LOADERS, "folder"])
@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_pickle_that_would_run_code_runs_none(kind: str, how: str, tmp_path: Path) -> None:
    path, made = tmp_path / "model.safetensors", tmp_path / "made by evil"
    content = {"seqlearn": {"class": "seqlearn.models.gru.GRU"}, "state_dict": Evil(made)}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    load = LOADERS.get(kind, lambda path: sl.GRU.from_pretrained(path.parent))
    if kind == "folder":
        (tmp_path / "config.json").write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match="expected"):
        load(path)
    assert not made.exists()


def test_the_pickle_of_this_test_is_dangerous(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path / "made")))
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("key", ["_class_path", "_instantiator"])
@pytest.mark.parametrize("value", ["os.system", "no.such.module.run", ["rm", "-rf"]])
def test_the_keys_of_a_command_line_name_no_code(
    key: str, value: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.load(checkpoint, weights_only=True)
    plain["hyper_parameters"][key] = value
    torch.save(plain, tmp_path / "changed.ckpt")
    monkeypatch.setattr(os, "system", lambda *_: pytest.fail("it ran"))
    loaded = sl.GRU.load_from_checkpoint(tmp_path / "changed.ckpt")
    assert key not in loaded.hparams


@pytest.mark.parametrize("name", MODULES)
def test_arguments_are_plain(name: str) -> None:
    for task, spec in TASKS.items():
        if (name, task) != ("AttentionSeq2Seq", "language-modeling"):
            module = MODULES[name](spec)
            assert json.loads(json.dumps(dict(module.hparams))) == dict(module.hparams)
            assert sl.SequenceSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


class Holder(sl.GRU):
    def __init__(self, spec: sl.SequenceSpec, activation: Any = None) -> None:
        super().__init__(spec, d_model=4)


def test_an_object_as_argument_is_refused_when_it_is_given() -> None:
    with pytest.raises(TypeError, match="hyper-parameter activation: expected plain data"):
        Holder(TASKS["sequence-to-sequence"], activation=torch.relu)


@pytest.mark.parametrize("kind", LOADERS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_is_seen(kind: str, data: st.DataObject, request: pytest.FixtureRequest) -> None:
    """A file that ends early is refused. A bit that has turned is, or it changes nothing."""
    whole = request.getfixturevalue(kind)
    content = whole.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1), label="place")
    path = whole.with_name("damaged")
    path.write_bytes(content[:place])
    with pytest.raises(ValueError, match="damaged"):
        LOADERS[kind](path)
    flipped = content[place] ^ (1 << data.draw(st.integers(0, 7), label="bit"))
    path.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
    try:
        found = LOADERS[kind](path)
    except ValueError as error:
        assert "damaged" in str(error)  # noqa: PT017 -- either is right
        return
    known = LOADERS[kind](whole)
    if kind == "checkpoint":
        assert found.spec == known.spec
        assert found.hparams == known.hparams
        for name, tensor in known.state_dict().items():
            assert torch.equal(found.state_dict()[name], tensor), name
    else:
        assert found.tokens == known.tokens
        assert found.axes == known.axes
        for name, tensor in known.attention.items():
            assert torch.equal(found.attention[name], tensor), name


def test_a_run_is_not_resumed_from_other_weights(tmp_path: Path) -> None:
    """Lightning reads the checkpoint then, and does not look at its checksums."""
    module = sl.GRU(TASKS["sequence-to-sequence"], d_model=4)
    batch = batch_of(module.spec, rich_examples(module.spec))
    loader = DataLoader(cast("Dataset[Any]", [batch]), batch_size=None)

    def fit(epochs: int, path: Path | None) -> L.Trainer:
        run = trainer(max_epochs=epochs, default_root_dir=tmp_path)
        run.fit(module, loader, ckpt_path=path)
        return run

    with silence_lightning():
        path = tmp_path / "half.ckpt"
        fit(1, None).save_checkpoint(path)
        fit(2, path)
        whole = path.read_bytes()
        saved = torch.load(path, weights_only=True)["state_dict"]["head.weight"]
        place = whole.index(saved.numpy().tobytes())
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        torch.load(path, weights_only=True)  # which sees nothing
        with pytest.raises(ValueError, match=r"half\.ckpt: expected a checkpoint .* damaged"):
            fit(3, path)


def test_nothing_unpacks_archives() -> None:
    """So no member of one can climb out. Of what is fetched, names stand in the package."""
    package = Path(sl.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = (
                node.func.attr
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                else ""
            )
            assert called not in ("extract", "extractall", "unpack_archive"), path


def test_the_name_within_a_gz_is_not_used(tmp_path: Path) -> None:
    """A compressed file may name another place; it is read as it is, and nothing is written."""
    for side, text in (("en", "a b"), ("de", "c d")):
        path = tmp_path / f"train.{side}.gz"
        with path.open("wb") as raw, gzip.GzipFile("../../climbed", "wb", fileobj=raw) as file:
            file.write(text.encode())
    pair = (tmp_path / "train.en.gz", tmp_path / "train.de.gz")
    data = sl.data.TextPairs(pair, pair, pair, sl.data.Text("word"), sl.data.Text("word"))
    assert list(data.examples("train")) == [("a b", "c d")]
    assert not (tmp_path.parent.parent / "climbed").exists()


def test_pictures_hold_tokens_as_text(tmp_path: Path) -> None:
    """Names and tokens that are markup stay text in an SVG."""
    model = sl.Transformer(TASKS["sequence-to-sequence"], d_model=4, num_layers=1, num_heads=1)
    with sl.record(model, ["attention"]) as recorded:
        model.generate([[4, 5, 6, 7]], max_new_tokens=4)
    (one,) = recorded.tokens
    written = [HOSTILE[n % 4] for n in range(len(one.decoder_input or []))]
    recorded.label([Tokens(HOSTILE, written, written)])
    path = tmp_path / "map.svg"
    recorded.plot(next(iter(recorded.attention))).savefig(path)
    kinds = {element.tag.rsplit("}", 1)[-1] for element in ET.parse(path).iter()}
    assert not kinds & {"script", "img", "foreignObject"}
    assert "onerror=alert" not in "".join(
        " ".join(element.attrib.values()) for element in ET.parse(path).iter()
    )
