"""FSDP2 on two processes equals DDP, loads on one process, and decodes without a hang."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from ranks import run_script
from sharded_processes import SOURCES, Pairs, WithPooled, build
from torch import nn

import seqlearn as sl
from seqlearn.cli import main
from seqlearn.core.sharded_checkpoint import read_folder, verify_folder
from seqlearn.core.sharding import check_strategy, guard_folders
from seqlearn.testing import TASKS

SHORT = ["Transformer", "WithPooled"]
LONG = ["FeedForward", "RNN", "GRU", "LSTM", "AttentionSeq2Seq", "Transformer", "WithPooled"]


class Evil:
    """An object that, unpickled, makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Two architectures, with few steps and repetitions."""
    folder = tmp_path_factory.mktemp("sharded")
    evil = folder / "evil.ckpt"
    evil.mkdir()
    torch.save({}, evil / "meta.pt")
    (evil / ".metadata").write_bytes(pickle.dumps(Evil(folder / "made by evil")))
    arguments = ["--architectures", *SHORT, "--steps", "6", "--repetitions", "4"]
    return folder, run_script(folder, "sharded_processes.py", *arguments)


def check_equal(name: str, folder: Path, ranks: list[dict[str, Any]]) -> float:
    """Check one architecture; returns the largest difference of its weights."""
    largest = 0.0
    for rank in ranks:
        plain, sharded = rank[name]["ddp"], rank[name]["fsdp"]
        assert sharded["loss"] == pytest.approx(plain["loss"], abs=1e-9)
        assert sharded["figures"] == pytest.approx(plain["figures"], abs=1e-6)
        assert set(sharded["weights"]) == set(plain["weights"])
        for key, weight in plain["weights"].items():
            torch.testing.assert_close(sharded["weights"][key], weight, atol=1e-6, rtol=0)
            largest = max(largest, float((sharded["weights"][key] - weight).abs().max()))
        assert rank[name]["differing"] == 0
        for key, weight in rank[name]["longer"].items():  # resumed from the sharded checkpoint
            torch.testing.assert_close(rank[name]["resumed"][key], weight, atol=1e-9, rtol=0)
    model = type(build(name, Pairs().spec))
    place = folder / name
    for loaded in (
        model.load_from_checkpoint(place / "sharded.ckpt"),
        model.from_pretrained(place / "pretrained"),
    ):
        assert type(loaded) is model
        assert loaded.generate(SOURCES) == ranks[0][name]["outputs"]
        for key, weight in ranks[0][name]["fsdp"]["weights"].items():
            torch.testing.assert_close(loaded.state_dict()[key], weight.float())
    one_file = model.load_from_checkpoint(place / "one-file.ckpt").state_dict()
    for key, weight in ranks[0][name]["resumed"].items():
        torch.testing.assert_close(one_file[key], weight.float())
    return largest


@pytest.mark.parametrize("name", SHORT)
def test_two_sharded_processes_equal_ddp_and_load_on_one(short: Any, name: str) -> None:
    check_equal(name, *short)


@pytest.mark.slow
def test_every_architecture_equals_ddp_after_20_steps(tmp_path: Path) -> None:
    evil = tmp_path / "evil.ckpt"
    evil.mkdir()
    torch.save({}, evil / "meta.pt")
    (evil / ".metadata").write_bytes(pickle.dumps(Evil(tmp_path / "made by evil")))
    ranks = run_script(tmp_path, "sharded_processes.py")
    for name in LONG:
        print(name, check_equal(name, tmp_path, ranks))


def test_checkpoints_name_the_users_class(short: Any) -> None:
    folder, _ = short
    written = read_folder(folder / "WithPooled" / "sharded.ckpt", "meta")["seqlearn"]["class"]
    assert written == "sharded_processes.WithPooled"


def test_what_does_not_work_is_refused_in_one_sentence(short: Any) -> None:
    folder, ranks = short
    for rank in ranks:
        said = rank["refusals"]
        assert "EMAWeightAveraging does not work with ModelParallelStrategy" in said["averaging"]
        assert "an earlier run sharded this module" in said["sharded before"]
        assert "expected a checkpoint that loads safely" in said["evil"]
        assert (
            "were used without calling the layer; override layers_to_shard of Uncalled"
            in (said["uncalled"])
        )
    assert not (folder / "made by evil").exists()


def test_a_hostile_or_damaged_folder_runs_no_code(short: Any, tmp_path: Path) -> None:
    folder, _ = short
    for damage in ("evil parts", "evil value", "flipped", "elsewhere", "cut"):
        made, path = tmp_path / f"made by {damage}", tmp_path / damage
        shutil.copytree(folder / "Transformer" / "sharded.ckpt", path)
        parts = pickle.loads((path / ".metadata").read_bytes())
        shard = next(path.glob("*.distcp"))
        info = next(each for index, each in parts.storage_data.items() if "0.lr" in index.fqn)
        if damage == "evil parts":
            parts.planner_data = Evil(made)
        elif damage == "elsewhere":
            info.relative_path = f"../{path.name}/{info.relative_path}"
        elif damage == "evil value":
            evil = tmp_path / "value.pt"
            torch.save(Evil(made), evil)
            info.relative_path, info.offset, info.length = "evil.distcp", 0, evil.stat().st_size
            evil.rename(path / "evil.distcp")
        elif damage == "flipped":
            content = bytearray(shard.read_bytes())
            at = content.index(b"data/0") + 80
            content[at] ^= 1
            shard.write_bytes(content)
        else:
            shard.write_bytes(shard.read_bytes()[:-3000])
        (path / ".metadata").write_bytes(pickle.dumps(parts))
        with pytest.raises(ValueError, match="expected a checkpoint that loads safely"):
            sl.Transformer.load_from_checkpoint(path)
        with pytest.raises(Exception, match=r".") as raised:
            verify_folder(path)
        assert not isinstance(raised.value, FileExistsError)
        assert not made.exists()


def test_a_sharded_folder_serves_one_process(
    short: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is tested, trained on, and used by the command line."""
    folder, ranks = short
    path = folder / "Transformer" / "sharded.ckpt"
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    options |= {"accelerator": "cpu", "default_root_dir": tmp_path, "enable_checkpointing": False}
    data = Pairs()
    with pytest.raises(ValueError, match=r"is a sharded checkpoint.*AtomicCheckpointIO"):
        L.Trainer(**options).test(build("Transformer", data.spec), data, ckpt_path=path)
    trainer = L.Trainer(**options, plugins=[sl.AtomicCheckpointIO()], max_steps=8, max_epochs=-1)
    (figures,) = trainer.test(
        model := build("Transformer", data.spec), data, ckpt_path=path, verbose=False
    )
    expected = ranks[0]["Transformer"]["fsdp"]["figures"]
    assert figures["test/loss"] == pytest.approx(expected["test/loss"], abs=1e-5)
    with pytest.warns(UserWarning, match="with a different world_size"):
        trainer.fit(model, data, ckpt_path=path)
    assert trainer.global_step == 8
    text = tmp_path / "in.txt"
    text.write_text("abc\n", encoding="utf-8")
    assert main(["translate", str(path), str(text)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == ranks[0]["Transformer"]["outputs"][0]
    words = ["--model", "Transformer", "--data", "sharded_processes.Pairs"]
    sizes = {"d_model": "8", "num_layers": "2", "num_heads": "2", "tie_embeddings": "true"}
    words += [word for key, size in sizes.items() for word in (f"--model.{key}", size)]
    quiet = {"enable_progress_bar": "false", "accelerator": "cpu", "logger": "false"}
    words += [word for key, value in quiet.items() for word in (f"--trainer.{key}", value)]
    monkeypatch.chdir(tmp_path)  # where it writes its configuration
    assert main(["test", *words, "--ckpt_path", str(path)]) == 0
    found = re.search(r"test/loss\W+([0-9.]+)", capsys.readouterr().out)
    assert found is not None
    assert float(found[1]) == pytest.approx(expected["test/loss"], abs=1e-4)


def test_layers_to_shard() -> None:
    spec = TASKS["sequence-to-sequence"]
    model = sl.Transformer(spec, d_model=8, num_heads=2, num_layers=2)
    layers = [*model.encoder.layers, *model.decoder.layers]
    assert model.layers_to_shard() == model._unshared_layers() == layers
    model.encoder.layers[1].feedforward = model.encoder.layers[0].feedforward
    assert model._unshared_layers() == layers[2:]
    model.encoder.layers[0] = model.encoder.layers[1]
    assert model._unshared_layers() == layers[1:]
    model.norm = model.decoder.layers[1].norm_feedforward
    assert model._unshared_layers() == layers[1:3]
    model.decoder.layers[0].inner = nn.ModuleList([nn.Linear(1, 1)])
    assert model.layers_to_shard() == layers[1:]
    seq2seq = sl.AttentionSeq2Seq(spec, d_model=8)
    found = [type(layer).__name__ for layer in seq2seq.layers_to_shard()]
    assert found == ["BidirectionalLayer", "LSTMLayer"]
    assert sl.FeedForward(spec, d_model=8).layers_to_shard() == []


def test_without_a_mesh_nothing_is_sharded() -> None:
    model = WithPooled(TASKS["sequence-to-sequence"])
    model.configure_model()
    assert type(model) is WithPooled
    assert "training_step" not in vars(model)


def test_fsdp1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"FSDPStrategy is not supported.*ModelParallelStrategy"):
        check_strategy(nn.Linear(1, 1), FSDPStrategy())
    check_strategy(nn.Linear(1, 1), ModelParallelStrategy())


def test_the_optimizer_of_an_unsharded_run_is_refused(tmp_path: Path) -> None:
    strategy: Any = ModelParallelStrategy()
    read: list[Path] = []
    strategy.load_checkpoint = lambda path: read.append(path) or {}
    guard_folders(L.Trainer(accelerator="cpu", devices=1, strategy=strategy, logger=False))
    strategy.model = nn.Linear(1, 1)  # its parameters are the weight and the bias
    numbers = {"named": ["weight", "bias"], "ordered": [1, 0], "numbered": [0, 1]}
    for name, keys in numbers.items():
        states = {"state": {key: {} for key in keys}, "param_groups": [{"params": keys}]}
        torch.save({"optimizer_states": [states]}, tmp_path / name)
    strategy.load_checkpoint(tmp_path / "numbered")  # to test, without an optimizer
    strategy.optimizers = [torch.optim.SGD([strategy.model.bias, strategy.model.weight])]
    for name in ("named", "ordered"):
        strategy.load_checkpoint(tmp_path / name)
    with pytest.raises(ValueError, match="numbered is of a run that was not sharded"):
        strategy.load_checkpoint(tmp_path / "numbered")
    assert [path.name for path in read] == ["numbered", "named", "ordered"]
