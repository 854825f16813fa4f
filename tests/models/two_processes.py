"""Train a little and save the weights; run by `test_processes.py`, alone or as two ranks.

python two_processes.py FOLDER DEVICES ACCUMULATE
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader

import seqlearn as sl
from seqlearn.data.batching import BatchSampler, plan_batches


class InTurn(BatchSampler):
    """The batches of two ranks, those of one step next to one another."""

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.plan.shuffled(self.seed, self.epoch))

    def __len__(self) -> int:
        return len(self.plan)


class Pairs(sl.data.SequenceDataModule):
    """Texts of unequal lengths, and their mirror images."""

    def __init__(self) -> None:
        super().__init__(sl.data.Text(), sl.data.Text(), batch_tokens=24)

    def train_dataloader(self) -> DataLoader:
        """For one process, what the two ranks see, in turn."""
        if self.trainer.world_size > 1:
            return super().train_dataloader()
        rows = self.dataset("train")
        plan = plan_batches(
            rows.source_lengths, rows.target_lengths, self.batch_tokens, world_size=2, locate=str
        )
        return DataLoader(rows, sampler=InTurn(plan, shuffle=True), batch_size=None)

    def examples(self, split: str) -> list[tuple[str, str]]:
        count = {"train": 48, "val": 5, "test": 0}[split]
        texts = ["abcdefgh"[i % 5 : i % 5 + 1 + i % 4] for i in range(count)]
        return [(text, text[::-1]) for text in texts]


def main(folder: Path, devices: int, accumulate: int) -> None:
    """Fit for two epochs; rank zero writes weights and figures."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = Pairs()
    model = sl.Transformer(
        data.spec,
        d_model=8,
        num_layers=1,
        num_heads=2,
        dropout=0.0,
        recipe=sl.Recipe(lr=1e-2, warmup_steps=3, label_smoothing=0.1),
    )
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        accumulate_grad_batches=accumulate,
        precision="64-true",
        gradient_clip_val=0.5,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(model, data)
    if trainer.is_global_zero:
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        steps = trainer.global_step
        torch.save(
            {"weights": model.state_dict(), "figures": figures, "steps": steps}, folder / "out.pt"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
