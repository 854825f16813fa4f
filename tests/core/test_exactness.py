"""One step's gradient is that of the mean over all of its targets, however it is split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

import seqlearn as sl
from seqlearn.core.loss_output import LossOutput
from seqlearn.nn import State

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Pairs(sl.data.SequenceDataModule):
    """Texts of very unequal lengths, and what is made of them."""

    def examples(self, split: str) -> list[tuple[str, Any]]:
        texts = ["abcdefgh"[i % 5 : i % 5 + 1 + i % 4] * (1 + i % 3) for i in range(50)]
        made = {sl.data.Classes: "ab", sl.data.Vector: ([1.0, 2.0], [0.5, -1.0])}
        answers: Sequence[Any] = made.get(type(self.target), texts)
        pairs = [(text, answers[i % len(answers)]) for i, text in enumerate(texts)]
        return pairs if split == "train" else []


class WithPenalty(sl.GRU):
    """A model with one more term in its loss, of a parameter of its own, and all its batches."""

    def __init__(self, spec: sl.SequenceSpec, **base: Any) -> None:
        super().__init__(spec, d_model=4, dropout=0.0, **base)
        self.extra = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.batches: list[sl.SequenceBatch] = []
        self.measured: list[LossOutput] = []
        self.gradients: list[dict[str, torch.Tensor]] = []

    def compute_loss(
        self, batch: sl.SequenceBatch, state: State | None = None, *, smoothing: float = 0.0
    ) -> LossOutput:
        self.measured.append(super().compute_loss(batch, state, smoothing=smoothing))
        return self.measured[-1]

    def training_step(self, batch: sl.SequenceBatch, batch_idx: int) -> torch.Tensor:
        self.batches.append(batch)
        loss = super().training_step(batch, batch_idx)
        penalty = self.extra[0] * batch.size + batch.loss_weight * self.extra[1]
        return loss + 0.1 * penalty

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        named = self.named_parameters()
        self.gradients.append({n: p.grad.clone() for n, p in named if p.grad is not None})


def fitted(folder: Path, data: Any, **options: Any) -> WithPenalty:
    torch.manual_seed(0)
    # A learning rate of nearly nothing, so that every step sees the same weights.
    model = WithPenalty(data.spec, recipe=sl.Recipe(lr=1e-30, warmup_steps=0)).double()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        precision="64-true",
        **({"max_epochs": 2} | options),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        default_root_dir=folder,
    )
    trainer.fit(model, data)
    return model


def assert_exact(model: WithPenalty, sizes: list[int], accumulate: list[int]) -> None:
    """Groups of these sizes, each made with `accumulate` batches to a step."""
    assert len(model.gradients) == len(sizes)
    assert len(model.batches) == sum(sizes)
    rest, measured = list(model.batches), list(model.measured)
    for found, size, nominal in zip(model.gradients, sizes, accumulate, strict=True):
        group, rest = rest[:size], rest[size:]
        parts, measured = measured[:size], measured[size:]
        total = sum(int(part.num_tokens) for part in parts)
        for batch, part in zip(group, parts, strict=True):
            weight = int(part.num_tokens) * nominal / total
            assert batch.loss_weight == pytest.approx(weight, rel=1e-15)
        model.zero_grad()
        losses = [sl.GRU.compute_loss(model, batch).loss for batch in group]
        (sum(losses) / total).backward()
        for name, parameter in model.named_parameters():
            if name != "extra" and parameter.grad is not None:
                torch.testing.assert_close(found[name], parameter.grad, atol=1e-13, rtol=1e-11)
        plain = 0.1 * sum(batch.size for batch in group) / nominal
        torch.testing.assert_close(found["extra"].tolist(), [plain, 0.1], atol=1e-14, rtol=0)


TARGETS = {
    "text": sl.data.Text(),
    "classes": sl.data.Classes(),
    "vectors": sl.data.Vector(2),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("accumulate", [1, 5])
def test_a_step_is_that_of_its_whole_group(accumulate: int, target: str, tmp_path: Path) -> None:
    data = Pairs(sl.data.Text(), TARGETS[target], batch_tokens=36)
    count = len(data.train_dataloader())
    model = fitted(tmp_path, data, accumulate_grad_batches=accumulate)
    assert count % 5  # the last group is smaller
    sizes = [accumulate] * (count // accumulate) + [count % accumulate] * (accumulate > 1)
    assert_exact(model, 2 * sizes, [accumulate] * 2 * len(sizes))


def test_so_it_is_with_limits_schedules_workers_and_clipping(tmp_path: Path) -> None:
    data = Pairs(sl.data.Text(), sl.data.Text(), batch_tokens=36, num_workers=1)
    schedule = L.pytorch.callbacks.GradientAccumulationScheduler({0: 2, 1: 4})
    model = fitted(
        tmp_path, data, callbacks=[schedule], limit_train_batches=7, gradient_clip_val=1e-3
    )
    assert_exact(model, [2, 2, 2, 1, 4, 3], [2, 2, 2, 2, 4, 4])


def test_so_it_is_with_a_stream(tmp_path: Path) -> None:
    texts = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for path, text in zip(texts, ("abcde" * 9, "edcba" * 5), strict=True):
        path.write_text(text, encoding="utf-8")
    data = sl.data.PlainText(texts, window=4, batch_tokens=8)
    count = len(data.train_dataloader())
    model = fitted(tmp_path, data, accumulate_grad_batches=4, max_epochs=1)
    total = [sum(int(m.num_tokens) for m in model.measured[i : i + 4]) for i in range(0, count, 4)]
    assert len(total) == len(model.gradients)
    for place, (batch, part) in enumerate(zip(model.batches, model.measured, strict=True)):
        assert batch.loss_weight == int(part.num_tokens) * 4 / total[place // 4]
    assert len({int(part.num_tokens) for part in model.measured}) > 2  # also of starts and of ends
