"""Loaders move no run: peeks, searches of learning rates, iterations side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateFinder, ModelCheckpoint
from lightning.pytorch.tuner import Tuner

import seqlearn as sl
from seqlearn.data import Classes, SequenceDataModule, Text, Vector
from seqlearn.data.position import TrainingPosition

pytestmark = [
    # The machine that tests may have fewer cores than workers.
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    # The search counts its own steps, and Lightning finds them few.
    pytest.mark.filterwarnings("ignore:.*number of training batches"),
]


class Squares(SequenceDataModule):
    """Numbers, some repeated, and their squares: five batches."""

    def __init__(self, **common: int) -> None:
        super().__init__(Text(), Text(), **{"batch_tokens": 200, **common})

    def examples(self, split: str) -> list[tuple[str, str]]:
        numbers = {"train": range(90), "val": range(90, 120), "test": range(0)}[split]
        return [(str(n) * (1 + n % 7), str(n * n)) for n in numbers]


class Seen(sl.GRU):
    """Writes down which rows each step gets, and with which weight."""

    def __init__(self, spec: sl.SequenceSpec, d_model: int = 4, lr: float = 1e-2) -> None:
        super().__init__(spec, d_model=d_model, dropout=0.2)
        self.lr = lr
        self.seen: list[tuple[list[int], float]] = []
        self.validated: list[list[int]] = []

    def training_step(self, batch: sl.SequenceBatch, batch_idx: int) -> torch.Tensor:
        self.seen.append((batch.indices.tolist(), batch.loss_weight))
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: sl.SequenceBatch, batch_idx: int) -> None:
        self.validated.append(batch.indices.tolist())
        super().validation_step(batch, batch_idx)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), self.lr)


def fitted(
    folder: Path,
    num_workers: int = 0,
    *callbacks: L.Callback,
    path: Path | None = None,
    **options: Any,
) -> tuple[Seen, L.Trainer]:
    data = Squares(num_workers=num_workers)
    torch.manual_seed(0)
    model = Seen(data.spec)
    trainer = trainer_of(folder, *callbacks, **options)
    trainer.fit(model, data, ckpt_path=path, weights_only=path and True)
    return model, trainer


def trainer_of(folder: Path, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    settings = {"max_epochs": 3, "accumulate_grad_batches": 2, "num_sanity_val_steps": 0}
    return L.Trainer(
        **(settings | options),
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks),
        callbacks=list(callbacks),
        default_root_dir=folder,
    )


class Peek(L.Callback):
    """Takes a batch of every loader that it can get, at every so many turns of a run."""

    def __init__(self, every: int) -> None:
        self.every, self.turns = every, 0
        self.found: set[tuple[int, ...]] = set()

    def peek(self, trainer: L.Trainer, *_: object) -> None:
        self.turns += 1
        if self.turns % self.every:
            return
        loaders = [trainer.datamodule.train_dataloader(), trainer.train_dataloader]
        for loader in [*loaders, trainer.datamodule.val_dataloader(), trainer.val_dataloaders]:
            if loader is not None:
                self.found.add(tuple(next(iter(loader)).indices.tolist()))

    on_train_start = on_train_epoch_start = on_train_batch_start = peek
    on_train_batch_end = on_validation_start = on_validation_batch_end = peek
    on_validation_end = on_train_epoch_end = on_train_end = peek


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seen]:
    """A run that nobody looks at, with a checkpoint after every step."""
    folder = tmp_path_factory.mktemp("undisturbed")
    keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    return folder, fitted(folder, 0, keep)[0]


def assert_same(model: Seen, other: Seen, since: int = 0) -> None:
    assert model.seen == other.seen[since:]
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name


@pytest.mark.parametrize("num_workers", [0, 2])
def test_iterating_draws_no_random_number(num_workers: int) -> None:
    """torch draws a seed for the workers; weights that are drawn after a peek would be others."""
    data = Squares(num_workers=num_workers)
    before = torch.get_rng_state()
    for loader in (data.train_dataloader(), data.val_dataloader()):
        next(iter(loader))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.device("meta"):  # as with another default device
        data.train_dataloader().iterate(0, 0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_peeking_changes_nothing(
    undisturbed: tuple[Path, Seen], num_workers: int, tmp_path: Path
) -> None:
    folder, model = undisturbed
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    every = 9 if num_workers else 1  # processes take their time
    peek = Peek(every)
    peeked, _ = fitted(tmp_path, num_workers, peek, keep)
    assert len(peek.found) > 3
    assert_same(peeked, model)
    assert peeked.validated == model.validated
    for step in range(1, 10):
        position, other = (
            torch.load(each / f"step={step}.ckpt", weights_only=True)["Squares"]
            for each in (folder, tmp_path)
        )
        assert position == other
        assert position["total"] == 5 * (step // 3) + 2 * (step % 3)
    # A run that goes on is not moved either.
    again, _ = fitted(tmp_path, num_workers, Peek(every), path=tmp_path / "step=4.ckpt")
    assert_same(again, model, since=7)


def test_a_search_of_the_learning_rate_changes_nothing(
    undisturbed: tuple[Path, Seen], tmp_path: Path
) -> None:
    _, model = undisturbed

    class Search(LearningRateFinder):
        def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
            super().on_fit_start(trainer, module)
            module.seen.clear()

    searched, _ = fitted(tmp_path, 0, Search(num_training_steps=7, update_attr=False))
    assert_same(searched, model)
    data = Squares()
    torch.manual_seed(0)
    before = Seen(data.spec)
    trainer = trainer_of(tmp_path)
    Tuner(trainer).lr_find(before, datamodule=data, num_training=4, update_attr=False)
    assert before.seen
    before.seen.clear()
    trainer.fit(before, data)
    assert_same(before, model)


def test_a_search_of_the_budget_of_a_batch_changes_only_the_budget(
    undisturbed: tuple[Path, Seen], tmp_path: Path
) -> None:
    _, model = undisturbed
    data = Squares()
    budget = data.batch_tokens
    torch.manual_seed(0)
    before = Seen(data.spec)
    trainer = trainer_of(tmp_path)
    found = Tuner(trainer).scale_batch_size(
        before, datamodule=data, batch_arg_name="batch_tokens", init_val=budget, max_trials=2
    )
    assert found == data.batch_tokens >= budget  # Lightning stops at the number of examples
    data.batch_tokens = 2 * budget
    assert len(data.train_dataloader()) < len(Squares().train_dataloader())
    data.batch_tokens = budget
    before.seen.clear()
    trainer.fit(before, data)
    assert_same(before, model)


def test_the_search_sets_the_learning_rate_of_the_recipe(tmp_path: Path) -> None:
    data = Squares(batch_tokens=24)
    model = Seen(data.spec)
    model.recipe = sl.Recipe(lr=0.5, warmup_steps=2)
    assert model.lr == 0.5
    trainer = trainer_of(tmp_path, accumulate_grad_batches=1)
    found = Tuner(trainer).lr_find(
        model, datamodule=data, num_training=30, early_stop_threshold=None
    )
    assert found is not None
    assert found.suggestion() == model.recipe.lr == model.lr != 0.5
    assert model.recipe.warmup_steps == 2


@pytest.mark.parametrize("num_workers", [0, 2])
def test_iterations_side_by_side(num_workers: int) -> None:
    loader = Squares(num_workers=num_workers).train_dataloader()
    rows = [batch.indices.tolist() for batch in loader]
    one, other = iter(loader), iter(loader)
    found: tuple[list[list[int]], list[list[int]]] = ([], [])
    for turn in (0, 0, 1, 0, 1, 1, 0, 1, 0, 1):
        found[turn].append(next((one, other)[turn]).indices.tolist())
    assert found == (rows, rows)
    for ended in (one, other):
        with pytest.raises(StopIteration):
            next(ended)


def test_a_loader_made_aside_shows_the_whole_current_epoch(tmp_path: Path) -> None:
    class Whole(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
            shown = [each.indices.tolist() for each in trainer.datamodule.train_dataloader()]
            shown_by_epoch.setdefault(trainer.current_epoch, []).append(shown)
            rest.append([each.indices.tolist() for each in trainer.train_dataloader])

    shown_by_epoch: dict[int, list[list[list[int]]]] = {}
    rest: list[list[list[int]]] = []
    model, _ = fitted(tmp_path, 0, Whole(), max_epochs=2)
    seen = [rows for rows, _ in model.seen]
    assert shown_by_epoch[0][:4] == [seen[:5]] * 4
    assert shown_by_epoch[1][:4] == [seen[5:]] * 4
    assert rest[:4] == [seen[done:5] for done in range(1, 5)]


def test_a_second_source_that_is_shorter_goes_on_from_epoch_to_epoch(tmp_path: Path) -> None:
    class Two(Squares):
        def __init__(self) -> None:
            super().__init__()
            self.other = [torch.tensor(number) for number in range(7)]

        def train_dataloader(self) -> Any:
            longer = torch.utils.data.DataLoader(self.other, batch_size=None)
            return {"mine": super().train_dataloader(), "longer": longer}

    class Mine(Seen):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            super().on_train_batch_start(batch["mine"], batch_idx)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            return super().training_step(batch["mine"], batch_idx)

    data = Two()
    model = Mine(data.spec)
    trainer_of(tmp_path, max_epochs=2, limit_val_batches=0).fit(model, data)
    plain = Squares().train_dataloader()
    expected: list[list[int]] = []
    for epoch in range(3):
        plain.sampler.set_epoch(epoch)
        expected += [batch.indices.tolist() for batch in plain]
    assert [rows for rows, _ in model.seen] == expected[:14]


def test_a_loader_handed_to_fit_warns_when_it_is_resumed_within_an_epoch(tmp_path: Path) -> None:
    data = Squares()
    model = Seen(data.spec)
    stopped = trainer_of(tmp_path, max_steps=1)
    stopped.fit(model, data.train_dataloader(), data.val_dataloader())
    assert {weight for _, weight in model.seen} == {1.0}
    stopped.save_checkpoint(tmp_path / "stopped.ckpt")
    with pytest.warns(UserWarning, match="your dataloader is not resumable"):
        trainer_of(tmp_path, max_steps=2).fit(
            model,
            data.train_dataloader(),
            data.val_dataloader(),
            ckpt_path=tmp_path / "stopped.ckpt",
            weights_only=True,
        )


def test_it_follows_the_epochs_of_the_trainer_that_it_is_handed_to(tmp_path: Path) -> None:
    data = Squares()
    model = Seen(data.spec)
    trainer_of(tmp_path, max_epochs=1).fit(Seen(data.spec), data)  # which knows the data module
    trainer_of(tmp_path, max_epochs=2).fit(model, data.train_dataloader(), data.val_dataloader())
    assert sorted(model.seen[:5]) != model.seen[:5] != model.seen[5:]
    loader = data.train_dataloader()
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        rows = [batch.indices.tolist() for batch in loader]
        assert [seen for seen, _ in model.seen[5 * epoch :][:5]] == rows


def test_more_processes_than_at_its_making_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Squares().train_dataloader()
    others = Squares().val_dataloader()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    for each in (loader, others):
        with pytest.raises(ValueError, match=r"with 1 process, but now 2 processes run"):
            next(iter(each))
    assert len(Squares().train_dataloader()) == 3  # six batches for two


def targets() -> Iterator[tuple[str, Any, list[tuple[str, Any]], int]]:
    yield "text", Text(), [("a", "xyz"), ("b", ""), ("a", "x")], 4 + 1 + 2
    yield "classes", Classes(), [("a", "x"), ("b", "y"), ("a", "x")], 3
    yield "vector", Vector(2), [("a", [1.0, 2.0]), ("b", [0.0, 0.0]), ("b", [3.0, 1.0])], 6


@pytest.mark.parametrize(("name", "target", "pairs", "total"), list(targets()))
def test_what_counts_is_what_the_loss_counts(
    name: str, target: Any, pairs: list[tuple[str, Any]], total: int
) -> None:
    class Given(SequenceDataModule):
        def examples(self, split: str) -> list[tuple[str, Any]]:
            return pairs if split == "train" else []

    data = Given(Text(), target)
    dataset = data.dataset("train")
    batches = [[0, 1, 2], [~0, 1], [~2], [2]]
    model = sl.GRU(data.spec, d_model=4)
    expected = [int(model.compute_loss(dataset[rows]).num_tokens) for rows in batches]
    assert dataset.counted(batches).tolist() == expected
    assert expected[0] == total
    assert expected[2] == 0
    assert len(dataset.counted([])) == 0


def test_what_counts_in_a_stream_is_what_the_loss_counts(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.txt" for number in range(3)]
    for path, text in zip(paths, ("abcab", "b", "cabba" * 3), strict=True):
        path.write_text(text, encoding="utf-8")
    data = sl.data.PlainText(paths, window=4, batch_tokens=24)
    model = sl.GRU(data.spec, d_model=4)
    loader = data.train_dataloader()
    for epoch in range(9):
        loader.sampler.set_epoch(epoch)
        counted = loader.dataset.counted(list(loader.sampler))
        assert counted.tolist() == [int(model.compute_loss(batch).num_tokens) for batch in loader]
        assert counted.sum() == sum(len(text) + 1 for text in ("abcab", "b", "cabba" * 3))


def test_a_strategy_that_does_not_step_on_a_smaller_group_is_refused(tmp_path: Path) -> None:
    class Carries(L.pytorch.strategies.SingleDeviceStrategy):
        @property
        def handles_gradient_accumulation(self) -> bool:
            return True

    with pytest.raises(ValueError, match=r"Carries takes no optimizer step at the end .* of 5"):
        fitted(tmp_path, strategy=Carries("cpu"))
    model, _ = fitted(tmp_path, strategy=Carries("cpu"), limit_train_batches=4)
    assert len(model.seen) == 12


def test_a_position_is_a_function_of_what_is_counted() -> None:
    position = TrainingPosition()
    position.resume(3, 2, 17)
    counted = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    batches = counted.fit_loop.epoch_loop.batch_progress
    found = []
    for done in (0, 17, 19, 20, 25):  # zero: the loops' counters are not restored yet
        batches.total.processed = done
        found.append(position.now(counted, 5))
    assert found == [(3, 2), (3, 2), (3, 4), (4, 0), (5, 0)]
    assert np.all(np.array(found) >= 0)
