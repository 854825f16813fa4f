"""`Exports`: writing a `SequenceModule` in another format."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from torch import nn

from seqlearn.core.sharding import is_sharded

Exporter = Callable[..., None]
"""Called as `exporter(module, path, **options)` with the options that `export` was given."""

_FORMATS: dict[str, Exporter] = {}


def register_format(name: str, exporter: Exporter) -> None:
    """Add a format to `SequenceModule.export` and `seqlearn export`.

    Args:
        name: The name of the format.
        exporter: Writes a module in it.

    Raises:
        ValueError: If another exporter has the name.
    """
    if _FORMATS.setdefault(name, exporter) is not exporter:
        raise ValueError(f"expected a new name of a format, got {name!r}, which exists")


def format_names() -> list[str]:
    """The names of all formats."""
    return list(_FORMATS)


class Exports:
    """The part of a module that writes it in other formats."""

    def export(
        self,
        path: str | os.PathLike[str],
        format: str = "onnx",  # noqa: A002 -- as in the command line
        **options: Any,
    ) -> Path:
        """Write the module as a folder that runs without it, for deployment.

        `seqlearn.export.load_exported(path)` runs the folder of every format: it has `generate`
        with greedy and beam search, `classify` and `predict` for raw sources. The folder contains
        the tokenizers, labels and decoding options.

        The module is not changed. The result is checked against it before the folder replaces
        `path`.

        Args:
            path: A new or empty folder, or an earlier export, which is replaced.
            format: `"onnx"` and `"torch-export"` hold a graph of the encoder and one of a decoder
                step, for every architecture of seqlearn; `"ctranslate2"` is for the `Transformer`.
            options: `record=("attention", "states", "gates")` adds these outputs to the graphs,
                `head_mask=True` an input that weights the heads of attention;
                `quantization="int8"` is for `"ctranslate2"`.

        Returns:
            The folder.

        Raises:
            ValueError: If there is no such format, the format does not support the module, or the
                result differs from the module.
            TypeError: If the format has no such option, or the decoder is not one of seqlearn's.
            FileExistsError: If the folder contains other files.
            ModuleNotFoundError: If a package of the extra `export` is not installed.
        """
        if is_sharded(cast(nn.Module, self)):
            raise ValueError(
                "export needs a whole module, and this one is sharded; call save_pretrained on all "
                "ranks, and export of from_pretrained(folder) in one process"
            )
        if format not in _FORMATS:
            names = ", ".join(map(repr, _FORMATS))
            raise ValueError(f"expected a format among {names}, got {format!r}")
        exporter = _FORMATS[format]
        known = inspect.signature(exporter).parameters
        if wrong := [name for name in options if name not in known]:
            names = ", ".join(list(known)[2:]) or "none"
            raise TypeError(f"format {format!r} has no option {wrong[0]}; its options: {names}")
        exporter(self, path, **options)
        return Path(path)
