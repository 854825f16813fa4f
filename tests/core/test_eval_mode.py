"""Calls that need `eval`: from several threads, nested, and beside a mode of the user's own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import nn

import seqlearn as sl
from seqlearn.core.eval_mode import eval_mode, is_evaluating

SPEC = sl.SequenceSpec(sl.TextSpec(11, 6), sl.TextSpec(9, 6))


class WaitingEncoder(nn.Module):
    """Says when a thread has arrived, and waits to be let go."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.arrived = {name: threading.Event() for name in ("first", "second")}
        self.go_on = {name: threading.Event() for name in ("first", "second")}
        self.modes: list[bool] = []

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor) -> sl.Memory:
        name = threading.current_thread().name
        if name in self.arrived:
            self.arrived[name].set()
            assert self.go_on[name].wait(300)
            self.modes.append(self.training)
        return self.encoder(inputs, mask)


def test_a_call_that_ends_leaves_the_mode_of_another_that_still_runs() -> None:
    """The first starts, the second starts, the first ends: the second still has no dropout."""
    torch.manual_seed(1)
    model = sl.LSTM(SPEC, d_model=8, num_layers=2, dropout=0.5).train()
    alone = model.generate([[4, 5, 6]], max_new_tokens=6)
    waiting = model.encoder = WaitingEncoder(model.encoder)
    answers: dict[str, list[list[int]]] = {}

    def call() -> None:
        name = threading.current_thread().name
        answers[name] = model.generate([[4, 5, 6]], max_new_tokens=6)

    threads = {name: threading.Thread(target=call, name=name) for name in ("first", "second")}
    for name, thread in threads.items():
        thread.start()
        assert waiting.arrived[name].wait(300)
    for name, thread in threads.items():
        waiting.go_on[name].set()
        thread.join(30)
    assert waiting.modes == [False, False]
    assert answers == {"first": alone, "second": alone}
    assert all(part.training for part in model.modules())


def test_four_threads_generate_as_one_does() -> None:
    torch.manual_seed(1)
    model = sl.GRU(SPEC, d_model=8, num_layers=2, dropout=0.5).train()
    source = [[4, 5, 6]]
    alone = model.generate(source, max_new_tokens=6), float(model.score(source, [[4, 5]]))

    def many(_: int) -> list[tuple[list[list[int]], float]]:
        return [
            (model.generate(source, max_new_tokens=6), float(model.score(source, [[4, 5]])))
            for _ in range(30)
        ]

    with ThreadPoolExecutor(4) as pool:
        answers = [answer for each in pool.map(many, range(4)) for answer in each]
    assert all(answer == alone for answer in answers)
    assert all(part.training for part in model.modules())


def test_nested_blocks_restore_the_mode_of_each_part() -> None:
    module = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)))
    module[1][1].eval()
    modes = [part.training for part in module.modules()]
    with eval_mode(module):
        with eval_mode(module[1]):
            assert is_evaluating(module)
        assert not any(part.training for part in module.modules())
        assert is_evaluating(module[1])
    assert [part.training for part in module.modules()] == modes
    assert not is_evaluating(module)


def test_a_module_in_eval_is_not_touched() -> None:
    class Counting(nn.Dropout):
        calls = 0

        def train(self, mode: bool = True) -> Counting:
            self.calls += 1
            return super().train(mode)

    module = Counting().eval()
    before = module.calls
    with eval_mode(module):
        assert not module.training
    assert module.calls == before


# Training after loading


def copying() -> sl.data.Synthetic:
    return sl.data.Synthetic("copy", 3, train_examples=20, held_out_examples=5)


def fitted(folder: Path, model: sl.SequenceModule, *callbacks: L.Callback) -> dict[str, Any]:
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(model, copying())
    return model.state_dict()


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.mark.parametrize("load", ["from_pretrained", "load_from_checkpoint"])
def test_a_loaded_module_trains_with_dropout(load: str, tmp_path: Path) -> None:
    """It ends at the weights of the module that was saved, trained on without loading."""
    torch.manual_seed(1)
    model = sl.GRU(copying().spec, d_model=8, dropout=0.5)
    if load == "from_pretrained":
        model.save_pretrained(tmp_path / "saved")
        loaded = sl.GRU.from_pretrained(tmp_path / "saved")
    else:
        saver = L.Trainer(accelerator="cpu", logger=False, default_root_dir=tmp_path)
        saver.strategy.connect(model)
        saver.save_checkpoint(tmp_path / "saved.ckpt")
        loaded = sl.GRU.load_from_checkpoint(tmp_path / "saved.ckpt").eval()
    without = sl.GRU(copying().spec, d_model=8, dropout=0.0)
    without.load_state_dict(model.state_dict())
    expected = fitted(tmp_path, model.train())
    assert equal(fitted(tmp_path, loaded), expected)
    assert all(part.training for part in loaded.modules())
    assert not equal(fitted(tmp_path, without), expected)  # so that dropout makes a difference


def test_a_part_in_eval_stays_so_with_a_warning(tmp_path: Path) -> None:
    model = sl.GRU(copying().spec, d_model=8, dropout=0.5)
    model.encoder.eval()
    with pytest.warns(UserWarning, match=r"module\(s\) in eval mode at the start of training"):
        fitted(tmp_path, model)
    assert not model.encoder.training
    assert model.decoder.training
