"""Two processes save sharded checkpoints, and fail or are killed while they do.

python shard_saves.py FOLDER; run by `test_atomic_shards.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from forks import run_ranks
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.checkpoint import load
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from seqlearn.core.atomic_shards import write_atomically


class Linear(L.LightningModule):
    """A sharded layer whose weights are all equal to the number of the run."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)
        torch.nn.init.constant_(self.layer.weight, number)
        self.saved: Any = None

    def setup(self, stage: str) -> None:
        write_atomically(self.trainer)

    def configure_model(self) -> None:
        fully_shard(self.layer, mesh=self.device_mesh["data_parallel"])

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(torch.ones(1, 4)).sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.saved is not None:
            checkpoint["saved"] = self.saved


class WhilePickled:
    """Calls a function while rank 0 writes the checkpoint."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function

    def __reduce__(self) -> Any:
        self.function()
        return int, ()


def fill_the_disk() -> None:
    """Fail as a full disk does."""
    raise OSError(28, "No space left on device")


def save(path: Path, number: float, event: Callable[[], None] | None = None) -> None:
    """Train one step, and save."""
    warnings.filterwarnings("ignore")
    model = Linear(number)
    trainer = L.Trainer(
        max_steps=1,
        accelerator="cpu",
        devices=2,
        strategy=ModelParallelStrategy(data_parallel_size=2, tensor_parallel_size=1),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader([0, 1]))
    model.saved = None if event is None else WhilePickled(event)
    trainer.save_checkpoint(path)


def main(folder: Path) -> None:
    """Run what `test_atomic_shards.py` looks at; prints the exit statuses."""
    torch.set_num_threads(1)
    events: dict[str, tuple[float, Any]] = {
        "first": (1.0, None),
        "second": (2.0, None),
        "full": (3.0, fill_the_disk),
        "killed": (4.0, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    }
    found = {}
    for name, (number, event) in events.items():
        path = folder / "a.ckpt"
        statuses = run_ranks(folder / name, 2, partial(save, path, number, event))
        found[name] = {"statuses": statuses, "files": sorted(p.name for p in folder.iterdir())}
        if path.is_dir():
            weight = {"layer.weight": torch.zeros(4, 4)}
            state = {"state_dict": weight}
            load(state, checkpoint_id=path, no_dist=True)
            found[name]["weight"] = float(weight["layer.weight"].unique())
            found[name]["content"] = sorted(p.name for p in path.iterdir())
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
