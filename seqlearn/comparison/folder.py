"""The folder of a comparison: its runs, and what makes an earlier result usable."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import re
import shutil
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from seqlearn.atomic_files import require_writable
from seqlearn.comparison.candidates import Candidate
from seqlearn.comparison.job import finite, read_json, write_json
from seqlearn.data import SequenceDataModule
from seqlearn.plain_data import to_plain_data

MARK = "comparison.json"
"""The file that marks the folder of a comparison."""

OPTION = "directory (--directory)"
"""How to choose another folder, for error messages."""


def open_folder(directory: Path) -> None:
    """Create the folder of a comparison, or check that it is one.

    Raises:
        FileExistsError: If the folder contains other files.
        OSError: If it cannot be written.
    """
    if directory.exists() and not directory.is_dir():
        raise FileExistsError(f"expected a folder, got the file {directory}; change {OPTION}")
    others = [each.name for each in directory.glob("*") if each.name != ".lock"]
    if others and not (directory / MARK).exists():
        raise FileExistsError(
            f"expected an empty folder or one of an earlier comparison, got {directory} with "
            f"{', '.join(sorted(others)[:3])}; change {OPTION}"
        )
    require_writable(directory, OPTION)
    write_json(directory / MARK, {"format": 1})


def run_folder(directory: Path, label: str, seed: int) -> Path:
    """The folder of a run; labels that differ in punctuation only get different ones.

    Examples:
        >>> run_folder(Path("runs"), "GRU", 0).name
        'GRU-seed0'
    """
    slug = re.sub(r"[^\w.-]+", "-", label).strip("-.")[:60]
    if slug != label:
        slug += f"-{hashlib.sha256(label.encode()).hexdigest()[:6]}"
    return directory / "runs" / f"{slug}-seed{seed}"


def describe_data(data: SequenceDataModule) -> dict[str, Any]:
    """What determines the batches of a data module, as plain data."""
    found: dict[str, Any] = {
        "class": type(data).__name__,
        "content": data.dataset("train").folder.name,
        "seed": data.seed,
        "batch_tokens": data.batch_tokens,
    }
    return found | to_plain_data(data.order_key(), "order_key()")


def describe_trainer(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the Trainer as plain data, for a report; objects by their class."""
    return _trainer(trainer, lambda part: type(part).__name__)


def identify_trainer(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """As `describe_trainer`, with the attributes of objects that are plain data."""
    return _trainer(trainer, _with_attributes)


def _trainer(trainer: Mapping[str, Any], of: Callable[[Any], Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in trainer.items():
        parts = value if isinstance(value, list | tuple) else [value]
        try:
            found[name] = to_plain_data(value, name)
        except TypeError:
            found[name] = [of(part) for part in parts]
    return found


def _with_attributes(part: Any) -> list[Any]:
    found: list[Any] = [type(part).__name__]
    if isinstance(part, timedelta):
        return [*found, part.total_seconds()]
    for name, value in sorted(getattr(part, "__dict__", {}).items()):
        if not name.startswith("_"):
            with contextlib.suppress(TypeError):
                found.append([name, to_plain_data(value, name)])
    return found


def describe_run(
    candidate: Candidate,
    data: Mapping[str, Any],
    seed: int,
    trainer: Mapping[str, Any],
    budget: float | None,
) -> dict[str, Any]:
    """What determines the result of a run, as plain data."""
    found = candidate.describe() | {"data": dict(data), "seed": seed, "budget": budget}
    found |= {"trainer": dict(trainer), "code": _code(candidate.cls)}
    del found["label"]
    return dict(finite(json.loads(json.dumps(found))))


def _code(cls: type) -> str:
    """A digest of the file that defines a class outside of the package."""
    if cls.__module__.partition(".")[0] == "seqlearn":
        return ""
    try:
        return hashlib.sha256(inspect.getsource(inspect.getmodule(cls) or cls).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


def prepare_run(folder: Path, described: Mapping[str, Any]) -> bool:
    """Make the folder of a run ready; an unfinished run of other settings starts anew.

    Args:
        folder: The folder.
        described: What `describe_run` returned.

    Returns:
        Whether the run is complete.

    Raises:
        FileExistsError: If the folder has the result of a run with other settings.
    """
    known = read_json(folder / "run.json")
    complete = (folder / "result.json").exists()
    if known is not None and known != described:
        if complete:
            names = [name for name in described if known.get(name) != described[name]]
            raise FileExistsError(
                f"{folder} has the result of a run with another {', '.join(names)}; change "
                f"{OPTION}, or delete that folder to repeat the run"
            )
        shutil.rmtree(folder)
    if not complete:
        write_json(folder / "run.json", dict(described))
    return complete
