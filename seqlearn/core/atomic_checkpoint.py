"""Checkpoint files that are complete or absent, and verified before they are read."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from fsspec.core import url_to_fs
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor
from torch.utils._pytree import tree_leaves

from seqlearn.atomic_files import atomic_path
from seqlearn.core.checkpoint import read_checkpoint, unreadable, verify_checksum


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes each checkpoint beside its place, syncs and renames it; verifies it before loading.

    A kill or a full disk at any time leaves the previous file as it was. Lightning's own plugin
    writes through the folder for temporary files, and copies where that is another file system: a
    kill then leaves a part of a checkpoint. `seqlearn fit` uses this plugin by default. A link in
    the place is replaced; the file to which it leads is not changed.

    Remote addresses (`s3://…`) are written as Lightning writes them.

    Examples:
        >>> import lightning as L
        >>> import seqlearn as sl
        >>> trainer = L.Trainer(plugins=[sl.AtomicCheckpointIO()], logger=False)
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Save a checkpoint.

        Args:
            checkpoint: What `torch.save` can write.
            path: A file, or an address that fsspec can open.
            storage_options: Not supported, as in Lightning's plugin.

        Raises:
            OSError: If it cannot be written; the message names the folder, and for a full disk
                what is needed.
        """
        files, local = url_to_fs(str(path))
        if "file" not in files.protocol or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        size = sum(
            part.numel() * part.element_size()
            for part in tree_leaves(checkpoint)
            if isinstance(part, Tensor)
        )
        option = "`dirpath` of ModelCheckpoint or `default_root_dir` of the Trainer"
        # `ModelCheckpoint(save_last="link")` makes last.ckpt a link to the best checkpoint.
        with (
            atomic_path(local, "the checkpoint", option, size, through_link=False) as part,
            part.open("wb") as file,
        ):
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Any = lambda storage, _: storage, weights_only: Any = None
    ) -> dict[str, Any]:
        """Load a checkpoint.

        Args:
            path: A file, the folder of a sharded checkpoint, or an address that fsspec can open.
            map_location: As in `torch.load`.
            weights_only: As in `torch.load`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or holds more than plain data.
        """
        if Path(path).is_dir():
            return read_checkpoint(path)
        files, local = url_to_fs(str(path))
        if files.exists(local):
            verify_checksum(path)
        try:
            loaded: dict[str, Any] = super().load_checkpoint(path, map_location, weights_only)
        except pickle.UnpicklingError as error:
            raise unreadable(path, error) from None
        return loaded
