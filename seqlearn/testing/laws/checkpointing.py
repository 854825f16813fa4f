"""Law 9: saved and loaded is the same; interrupted and resumed is as never interrupted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from seqlearn.batch import SequenceBatch
from seqlearn.core import SequenceModule
from seqlearn.testing.cases import rows_of
from seqlearn.testing.law import Law, Trial, law
from seqlearn.testing.trainer_stub import silence_lightning, trainer


@law(9, "checkpoint round trip", drawn=False)
def saved(trial: Trial) -> None:
    """What a checkpoint gives back has the same arguments and outputs."""
    module = trial.module(dtype=torch.float32)
    batch = trial.batch(trial.rich(), torch.float32)
    with TemporaryDirectory() as folder, silence_lightning():
        path = Path(folder) / "module.ckpt"
        held = trainer(default_root_dir=folder)
        held.strategy.connect(module)
        module.trainer = held
        held.save_checkpoint(path)
        torch.manual_seed(trial.seed + 1)  # another process
        loaded = type(module).load_from_checkpoint(path).eval()
    kept, again = dict(module.hparams), dict(loaded.hparams)
    trial.expect(again == kept, f"saved with the arguments {kept}, loaded with {again}")
    trial.expect(loaded.spec == module.spec, "loaded with another spec")
    with torch.no_grad():
        trial.same(loaded(batch), module(batch), "outputs saved and loaded")


class SaveOnce(L.Callback):
    """Writes one checkpoint, when the first epoch ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: L.Trainer, _module: L.LightningModule) -> None:
        """Write it."""
        if trainer.current_epoch == 0:
            trainer.save_checkpoint(self.path)


@law(9, "resumed", drawn=False)
def resumed(trial: Trial) -> None:
    """A run that was interrupted and resumed ends with the weights of one that was not."""
    batch = trial.batch(trial.rich(), torch.float32)
    batches = cast("Dataset[SequenceBatch]", [rows_of(batch, rows) for rows in ([0, 1], [2, 3])])

    def fit(callbacks: list[L.Callback], **options: Any) -> SequenceModule:
        module = trial.module(training=True, dtype=torch.float32)
        run = trainer(
            max_epochs=2, callbacks=callbacks, default_root_dir=folder, log_every_n_steps=1
        )
        run.fit(module, DataLoader(batches, batch_size=None), **options)
        return module

    with TemporaryDirectory() as folder, silence_lightning():
        path = Path(folder) / "half.ckpt"
        whole = fit([SaveOnce(path)])
        torch.manual_seed(trial.seed + 1)  # another process
        again = fit([], ckpt_path=path)
    state, other = whole.state_dict(), again.state_dict()
    trial.expect(list(state) == list(other), "the resumed module has other weights by name")
    for name, tensor in state.items():
        trial.same(other[name], tensor, f"{name} after a run resumed, and one never interrupted")


LAWS: tuple[Law, ...] = (saved, resumed)
