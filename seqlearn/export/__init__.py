"""Exported models: ONNX, `torch.export` and CTranslate2, and what runs them.

`SequenceModule.export` and `seqlearn export` write a folder; `load_exported` runs it. The packages
of the extra `export` are imported when a format needs them.
"""

from __future__ import annotations

import os

from seqlearn.core.exporting import register_format
from seqlearn.export.config_file import read_config
from seqlearn.export.ctranslate2_format import export_ctranslate2
from seqlearn.export.ctranslate2_model import CTranslate2Model
from seqlearn.export.live_page import export_page
from seqlearn.export.onnx_format import export_onnx
from seqlearn.export.packages import is_installed
from seqlearn.export.runtime import ExportedModel
from seqlearn.export.torch_export_format import export_torch, load_torch

__all__ = ["CTranslate2Model", "ExportedModel", "is_installed", "load_exported"]

register_format("onnx", export_onnx)
register_format("torch-export", export_torch)
register_format("ctranslate2", export_ctranslate2)
register_format("page", export_page)


def load_exported(folder: str | os.PathLike[str]) -> ExportedModel | CTranslate2Model:
    """Run an exported model, on the CPU.

    Args:
        folder: A folder that `SequenceModule.export` or `seqlearn export` wrote, of any format.

    Returns:
        An object with `generate` and `predict`, and `classify` where the target is a class.

    Raises:
        FileNotFoundError: If the folder is no export, or a file is missing.
        ValueError: If its format is unknown, or `export.json` is damaged.
        ModuleNotFoundError: If a package of the extra `export` is not installed.

    Examples:
        >>> model.export("exported")  # doctest: +SKIP
        >>> load_exported("exported").generate(["3 1 4"])  # doctest: +SKIP
        ['4 1 3']
    """
    name = read_config(folder)["format"]
    loaders = {"onnx": ExportedModel, "torch-export": load_torch, "ctranslate2": CTranslate2Model}
    if name not in loaders:
        names = ", ".join(map(repr, loaders))
        raise ValueError(f"{folder}: expected a format among {names}, got {name!r}")
    return loaders[name](folder)  # type: ignore[operator]
