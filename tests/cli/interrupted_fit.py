"""`seqlearn fit` on two processes, interrupted by SIGTERM to one, and started again.

python interrupted_fit.py FOLDER; run by `test_interrupted_fit.py`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from forks import printed, run_ranks

from seqlearn.callbacks import Interrupt
from seqlearn.cli import main as seqlearn
from seqlearn.cli.runs import newest_checkpoint

CONFIG = """\
model:
  class_path: LSTM
  init_args: {d_model: 4, dropout: 0.2}
data:
  class_path: TextPairs
  init_args: {train: pairs.tsv, val: 0.2, batch_tokens: 16}
trainer:
  max_epochs: 2
  accelerator: cpu
  devices: 2
  strategy: ddp
  accumulate_grad_batches: 3
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: lightning.pytorch.callbacks.EMAWeightAveraging
      init_args: {decay: 0.9}
"""


def fit(folder: Path, name: str, *, interrupt: bool = False) -> dict[str, Any]:
    """Run the command once; returns the statuses of the ranks, and the newest checkpoint."""

    def command() -> int:
        warnings.filterwarnings("ignore")
        os.chdir(folder)
        if interrupt:
            send_signal_on_rank_1()
        return seqlearn(["fit", "--config", "small.yaml", "--ckpt_path", "auto"])

    found: dict[str, Any] = {"statuses": run_ranks(folder / name, 2, command)}
    path = newest_checkpoint({"default_root_dir": str(folder), "logger": False})
    found["checkpoint"] = None if path is None else Path(path).name
    found["printed"] = printed(folder / name)
    if path is not None:
        loaded = torch.load(path, weights_only=True)
        found["step"] = loaded["global_step"]
        names = ("state_dict", "current_model_state")
        found["weights"] = [
            [key, value.tolist()] for name in names for key, value in loaded[name].items()
        ]
    return found


def send_signal_on_rank_1() -> None:
    """Send SIGTERM within an accumulation group of the first epoch."""
    hook = Interrupt.on_train_batch_start

    def sends(self: Interrupt, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        hook(self, trainer, module, batch, batch_idx)
        if trainer.global_rank == 1 and batch_idx == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    Interrupt.on_train_batch_start = sends  # type: ignore[method-assign]


def main(folder: Path) -> None:
    """Run the command uninterrupted in one folder; in another, interrupted and twice again."""
    torch.set_num_threads(1)
    for name in ("whole", "interrupted"):
        (folder / name).mkdir()
        (folder / name / "small.yaml").write_text(CONFIG, encoding="utf-8")
        rows = [f"{'abcde'[: 1 + i % 5]}{i % 3}\t{'edcba'[: 1 + i % 5]}\n" for i in range(60)]
        (folder / name / "pairs.tsv").write_text("".join(rows), encoding="utf-8")
    found = {
        "whole": fit(folder / "whole", "run"),
        "first": fit(folder / "interrupted", "first", interrupt=True),
        "second": fit(folder / "interrupted", "second"),
        "third": fit(folder / "interrupted", "third"),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
