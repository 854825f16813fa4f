"""The file `config.yaml` of a run, which is complete or absent."""

from __future__ import annotations

import posixpath
from typing import Any

from fsspec.core import url_to_fs
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import SaveConfigCallback

from seqlearn.atomic_files import atomic_path


class SaveConfig(SaveConfigCallback):
    """Writes the configuration into the log folder; an existing file is replaced as a whole.

    Without a logger that folder is `default_root_dir`, and only `fit` writes the file: a later
    `test` would replace the configuration of the run there.

    Args:
        parser: The parser.
        config: The configuration.
        options: Those of Lightning's callback.
    """

    def __init__(self, parser: Any, config: Any, **options: Any) -> None:
        super().__init__(parser, config, **options, save_to_log_dir=False)
        self._folder = ""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find the folder on all ranks, for `log_dir` is a broadcast, and write on rank zero."""
        if not trainer.loggers and stage != "fit":
            return
        self._folder = str(trainer.log_dir or trainer.default_root_dir)
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the file; Lightning calls this on rank zero only."""
        text = self.parser.dump(self.config, skip_none=False)
        files, folder = url_to_fs(self._folder)
        path = posixpath.join(folder, self.config_filename)
        if "file" in files.protocol:
            option = "--trainer.default_root_dir"
            with atomic_path(path, "the configuration", option, len(text)) as part:
                part.write_text(text, encoding="utf-8")
        else:
            files.makedirs(folder, exist_ok=True)
            files.write_text(path, text, encoding="utf-8")
