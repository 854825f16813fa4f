"""Reads `export.json`, and checks that a folder is complete.

This file imports nothing of seqlearn or torch, for each exported folder holds a copy of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONFIG, FORMAT = "export.json", "seqlearn.export/2"


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The contents of `export.json`.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or has another format.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder}: expected a folder that `seqlearn export` wrote; there is no {CONFIG}"
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = config.get("version")
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: expected the JSON of an export, and the file is damaged ({error}); copy the "
            "whole folder again, or export again"
        ) from error
    if version != FORMAT:
        raise ValueError(
            f"{path}: expected the version {FORMAT!r}, got {version!r}; export the model again"
        )
    return config


def check_files(folder: str | os.PathLike[str], names: Sequence[str]) -> None:
    """Check that an exported folder is complete.

    Raises:
        FileNotFoundError: If one of its files is missing.
    """
    for name in names:
        if not (Path(folder) / name).is_file():
            raise FileNotFoundError(
                f"{folder}: expected the file {name}, which belongs to this export; copy the whole "
                "folder again, or export again"
            )
