"""Law 9: a loaded checkpoint is the saved module; a resumed run equals an uninterrupted one."""

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
from seqlearn.testing.definition import Law, law
from seqlearn.testing.trainer_stub import SaveAfterFirstEpoch, silence_lightning, trainer
from seqlearn.testing.trial import Trial


@law(9, "checkpoint round trip", drawn=False)
def checkpoint_round_trip(trial: Trial) -> None:
    """A loaded checkpoint has the same arguments and gives the same outputs."""
    module = trial.module(dtype=torch.float32)
    batch = trial.batch(trial.rich(), torch.float32)
    with TemporaryDirectory() as folder, silence_lightning():
        path = Path(folder) / "module.ckpt"
        held = trainer(default_root_dir=folder)
        held.strategy.connect(module)
        module.trainer = held
        held.save_checkpoint(path)
        torch.manual_seed(trial.seed + 1)  # as in another process
        loaded = type(module).load_from_checkpoint(path).eval()
    kept, again = dict(module.hparams), dict(loaded.hparams)
    trial.expect(again == kept, f"saved with the arguments {kept}, loaded with {again}")
    trial.expect(loaded.spec == module.spec, "the loaded module has another spec")
    with torch.no_grad():
        trial.same(loaded(batch), module(batch), "outputs before saving and after loading")


@law(9, "resumed", drawn=False)
def resumed(trial: Trial) -> None:
    """A run that is interrupted and resumed ends with the weights of an uninterrupted run."""
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
        whole = fit([SaveAfterFirstEpoch(path)])
        torch.manual_seed(trial.seed + 1)  # as in another process
        again = fit([], ckpt_path=path)
    state, other = whole.state_dict(), again.state_dict()
    trial.expect(list(state) == list(other), "the resumed module has parameters of other names")
    for name, tensor in state.items():
        trial.same(other[name], tensor, f"{name} after a resumed and an uninterrupted run")


LAWS: tuple[Law, ...] = (checkpoint_round_trip, resumed)
