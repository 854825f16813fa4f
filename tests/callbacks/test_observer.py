"""What the callbacks share: when they run the probe, on which batch, and that nothing changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jaxtyping
import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

import seqlearn as sl
from seqlearn.callbacks import (
    AttentionMonitor,
    FigureLogger,
    GradientFlow,
    Observer,
    SampleLogger,
    StateMonitor,
)

ALL = (AttentionMonitor, GradientFlow, SampleLogger, StateMonitor)
Make = Callable[..., sl.SequenceModule]


class Watch(Observer):
    """A user's own observer: the mean output of the module."""

    folder = "watched"

    def observe(self, module: L.LightningModule, probe: Any) -> float:
        self.calls = [*getattr(self, "calls", []), (module.trainer.global_step, probe)]
        assert not module.training
        assert not torch.is_grad_enabled()
        torch.rand(3)
        return module(probe).mean().item()

    def show(self, observed: float, logger: FigureLogger) -> None:
        logger.scalars({"watched": observed})


def test_a_callback_of_ones_own(fit, module: Make, batches, tmp_path: Path) -> None:
    watch, logger = Watch(every_n_steps=1, name="mine"), CSVLogger(tmp_path)
    fit(
        module("GRU", "sequence-to-sequence"), batches("sequence-to-sequence"), watch, logger=logger
    )
    assert [step for step, _ in watch.calls] == [1, 2, 3, 4]
    assert (
        Path(logger.log_dir, "metrics.csv").read_text(encoding="utf-8").count("mine/watched") == 1
    )


@pytest.mark.parametrize("name", ["RNN", "LSTM", "AttentionSeq2Seq", "Transformer", "FeedForward"])
def test_a_run_of_the_probe_changes_nothing(
    fit, module: Make, batches, tmp_path: Path, name
) -> None:
    def trained(*callbacks: L.Callback) -> list[torch.Tensor]:
        L.seed_everything(3, verbose=False)
        model = module(name, "sequence-to-sequence")
        fit(model, batches("sequence-to-sequence"), *callbacks)
        assert all(part.training for part in model.modules())
        hooks = [
            hook
            for part in model.modules()
            for where in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
            for hook in getattr(part, where)
        ]
        assert hooks == []
        return list(model.state_dict().values())

    looking = [kind(every_n_steps=2) for kind in ALL]
    if name in ("RNN", "LSTM", "FeedForward"):
        looking = looking[1:]  # no attention
    unwatched, watched = trained(), trained(*looking)
    assert all(map(torch.equal, unwatched, watched))
    assert {path.parent.name for path in tmp_path.rglob("*-step000004.*")} == {
        callback.folder for callback in looking
    }


def test_gradients_of_training_are_not_touched(fit, module: Make, batches) -> None:
    seen: list[list[torch.Tensor | None]] = []

    class Keep(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_: Any) -> None:
            seen.append(
                [None if p.grad is None else p.grad.clone() for p in pl_module.parameters()]
            )

    # Two micro-batches to a step: gradients of the first wait while the callback looks.
    model, data = module("LSTM", "sequence-to-sequence"), batches("sequence-to-sequence")
    fit(model, data * 2, Keep(), GradientFlow(every_n_steps=1), Keep(), accumulate_grad_batches=2)
    assert len(seen) == 16
    for before, after in zip(seen[::2], seen[1::2], strict=True):
        for left, right in zip(before, after, strict=True):
            assert (left is None) == (right is None)
            assert left is None or torch.equal(left, right)


def test_steps_between_runs_cost_nothing(fit, module: Make, batches, monkeypatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("ran")

    callbacks = [kind(every_n_epochs=None, every_n_steps=100) for kind in ALL]
    for callback in callbacks:
        monkeypatch.setattr(callback, "observe", refuse)
        monkeypatch.setattr(callback, "_run_probe", refuse)
    model = module("Transformer", "sequence-to-sequence")
    fit(model, batches("sequence-to-sequence"), *callbacks)
    copies = [callback._validation_rows for callback in callbacks]
    assert all(len(rows.target) == 3 for rows in copies)  # All that there are.


def test_a_given_probe_is_not_replaced(fit, module: Make, batches) -> None:
    probe, data = batches("sequence-to-sequence")[1], batches("sequence-to-sequence")
    watch = Watch(probe=probe)
    fit(module("RNN", "sequence-to-sequence"), data, watch)
    assert all(torch.equal(seen.target, probe.target) for _, seen in watch.calls)
    assert watch._validation_rows is watch._training_rows is None


def test_a_resumed_run_does_not_repeat_the_last_probe(
    fit, module: Make, batches, tmp_path: Path
) -> None:
    """Between the micro-batches of its first step, the step is that of the checkpoint."""
    data = batches("sequence-to-sequence") * 2
    options = {"accumulate_grad_batches": 2}
    first = Watch(every_n_steps=1)
    trainer = fit(module("RNN", "sequence-to-sequence"), data, first, max_epochs=1, **options)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    again = Watch(every_n_steps=1)
    fit(
        module("RNN", "sequence-to-sequence"), data, again, ckpt_path=tmp_path / "one.ckpt",
        **options,
    )  # fmt: skip
    assert [step for step, _ in first.calls] == [1, 2]
    assert [step for step, _ in again.calls] == [3, 4]


def test_another_fit_takes_another_probe(fit, module: Make, batches) -> None:
    watch = Watch()
    first, second = batches("sequence-to-sequence"), batches("sequence-to-sequence")[::-1]
    fit(module("RNN", "sequence-to-sequence"), first, watch)
    fit(module("RNN", "sequence-to-sequence"), second, watch)
    assert [step for step, _ in watch.calls] == [2, 4, 2, 4]
    probes = [probe.target for _, probe in watch.calls]
    assert torch.equal(probes[0], first[0].target)
    assert torch.equal(probes[2], second[0].target)


def test_without_validation_the_probe_is_of_the_training_batches(
    fit, module: Make, batches
) -> None:
    watch = Watch(examples=2)
    fit(
        module("RNN", "sequence-to-sequence"),
        batches("sequence-to-sequence"),
        watch,
        limit_val_batches=0,
    )
    assert [step for step, _ in watch.calls] == [2, 4]
    assert torch.equal(watch.calls[0][1].source, batches("sequence-to-sequence")[0].source[:2])


@pytest.mark.parametrize("rank", [0, 1])
def test_every_rank_observes_and_rank_zero_shows(
    fit, module: Make, batches, monkeypatch, tmp_path: Path, rank: int
) -> None:
    watch = Watch(every_n_steps=1)
    shown: list[int] = []
    monkeypatch.setattr(watch, "show", lambda observed, logger: shown.append(logger.step))
    monkeypatch.setattr(L.Trainer, "is_global_zero", property(lambda self: rank == 0))
    fit(module("RNN", "sequence-to-sequence"), batches("sequence-to-sequence"), watch)
    assert [step for step, _ in watch.calls] == [1, 2, 3, 4]
    assert shown == ([1, 2, 3, 4] if rank == 0 else [])


@pytest.mark.parametrize("method", ["observe", "show"])
def test_an_error_on_rank_zero_is_raised_on_all_ranks(
    fit, module: Make, batches, monkeypatch, method: str
) -> None:
    decisions: dict[int, list[bool]] = {0: [], 1: []}

    def fail(*_: Any) -> None:
        raise ValueError("broken")

    def run(rank: int, watch: Watch) -> None:
        def reduce(_self: Any, decision: bool, **_: bool) -> bool:
            decisions[rank].append(decision)
            return decisions[0][len(decisions[rank]) - 1] and decision

        strategy = L.pytorch.strategies.SingleDeviceStrategy
        monkeypatch.setattr(strategy, "reduce_boolean_decision", reduce)
        monkeypatch.setattr(L.Trainer, "is_global_zero", property(lambda self: rank == 0))
        fit(module("RNN", "sequence-to-sequence"), batches("sequence-to-sequence"), watch)

    failing, waiting = Watch(every_n_steps=1), Watch(every_n_steps=1)
    monkeypatch.setattr(failing, method, fail)
    with pytest.raises(ValueError, match="broken"):
        run(0, failing)
    with pytest.raises(RuntimeError, match="Watch failed in another process"):
        run(1, waiting)
    # The first decision is that of the metrics of the sanity check.
    assert decisions[0] == [True, *{"observe": [False], "show": [True, False]}[method]]
    assert decisions[1] == [True] * len(decisions[0])  # each rank made the same calls


def test_a_development_run_observes_and_writes_nothing(
    fit, module: Make, batches, tmp_path: Path
) -> None:
    callbacks = [kind(every_n_steps=1) for kind in ALL]
    watch = Watch(every_n_steps=1)
    model = module("Transformer", "sequence-to-sequence")
    fit(model, batches("sequence-to-sequence"), watch, *callbacks, fast_dev_run=True)
    assert [step for step, _ in watch.calls] == [1]
    assert list(tmp_path.iterdir()) == []


def test_two_of_one_class_are_distinguished_by_name(
    fit, module: Make, batches, tmp_path: Path
) -> None:
    model, data = module("Transformer", "sequence-to-sequence"), batches("sequence-to-sequence")
    fit(model, data, GradientFlow(name="a"), GradientFlow(name="b"), StateMonitor(), max_epochs=1)
    assert (tmp_path / "a/gradient_flow/norms-step000002.png").exists()
    assert (tmp_path / "b/gradient_flow/norms-step000002.png").exists()
    with pytest.raises(RuntimeError, match="more than one stateful callback"):
        fit(model, data, GradientFlow(), GradientFlow())


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every_n_epochs": 0}, "every_n_epochs of at least 1, got 0"),
        ({"every_n_steps": -1}, "every_n_steps of at least 1, got -1"),
        ({"examples": 0}, "examples of at least 1, got 0"),
        ({"every_n_epochs": None}, "would never run"),
    ],
)
def test_arguments_are_checked(kind: type[Observer], arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"{kind.__name__}.*{message}"):
        kind(**arguments)


@pytest.mark.parametrize("kind", ALL)
def test_numbers_are_whole(kind: type[Observer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is for users
    for name in ("every_n_epochs", "every_n_steps", "examples"):
        for wrong in ("1", 1.5, True):
            with pytest.raises(TypeError, match=rf"{kind.__name__}\.{name}: expected a whole"):
                kind(**{name: wrong})


def test_two_callbacks_with_one_directory_write_their_own_files(tmp_path: Path) -> None:
    data = sl.data.Dates(first_year=2000, last_year=2000, batch_tokens=512)
    monitors = [
        sl.callbacks.AttentionMonitor(name=name, directory=tmp_path / "x") for name in ("a", "b")
    ]
    trainer = L.Trainer(
        max_steps=1, callbacks=list(monitors), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
        default_root_dir=tmp_path, accelerator="cpu",
    )  # fmt: skip
    with warnings.catch_warnings(action="ignore"):
        trainer.fit(sl.AttentionSeq2Seq(data.spec, d_model=4), data)
    found = {path.parent.name for path in (tmp_path / "x").rglob("*.png")}
    assert found == {"a", "b"}
