"""The checkpoints of earlier runs: what `--ckpt_path last`, `best` and `auto` mean.

A run leaves its checkpoints where `ModelCheckpoint` writes them: in
`lightning_logs/version_N/checkpoints` below `--trainer.default_root_dir` (in `checkpoints` without
a logger), below the `save_dir` of a configured logger, or in the `dirpath` of a callback. The
newest run is the folder that holds the newest checkpoint.
"""

from __future__ import annotations

import glob
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fsspec.core import url_to_fs

from seqlearn.core import checkpoint as checkpoints

KEYWORDS = {
    "fit": ("last", "auto"),
    "validate": ("last", "best"),
    "test": ("last", "best"),
    "predict": ("last", "best"),
}
"""The words that each command understands as `--ckpt_path`, besides a path."""


def resolve(command: str, word: str, trainer: Mapping[str, Any]) -> str | None:
    """Find the checkpoint that `--ckpt_path` names.

    Args:
        command: `"fit"`, `"validate"`, `"test"` or `"predict"`.
        word: `"last"`, `"best"`, `"auto"` or a path.
        trainer: The Trainer's configuration.

    Returns:
        The path; None if the word is `"auto"` and there is no earlier run.

    Raises:
        ValueError: If the command does not understand the word, or the newest run chose no best
            checkpoint.
        FileNotFoundError: If there is no earlier run.
    """
    if word not in ("last", "best", "auto"):
        return word
    if word not in (allowed := KEYWORDS[command]):
        raise ValueError(
            f"{command} expected --ckpt_path {', '.join(allowed)} or a path, got {word!r}"
        )
    newest = newest_checkpoint(trainer)
    if newest is not None:
        return _best(newest) if word == "best" else newest
    if word == "auto":
        return None
    folders = ", ".join(pattern for pattern, _ in _patterns(trainer))
    raise FileNotFoundError(
        f"--ckpt_path {word}: expected the checkpoint of an earlier run in {folders}, found none; "
        "name its path, or the run's folder with --trainer.default_root_dir"
    )


def newest_checkpoint(trainer: Mapping[str, Any]) -> str | None:
    """The newest checkpoint of the newest run, or None; of two equally new ones `last.ckpt`."""
    found = []
    for _, escaped in _patterns(trainer):
        files, pattern = url_to_fs(escaped)
        found += [
            files.unstrip_protocol(path).removeprefix("file://") for path in files.glob(pattern)
        ]
    return newest_of(found)


def newest_of(paths: Iterable[str]) -> str | None:
    """The path that was written last, of those that exist; of equals `last.ckpt`, then by name."""
    found = []
    for path in paths:
        files, local = url_to_fs(path)
        if files.exists(local):
            is_last = posixpath.basename(local).startswith("last")
            found.append((files.modified(local), is_last, path))
    return max(found)[2] if found else None


def _patterns(trainer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Patterns of checkpoints, each as a user would write it, and with its folder escaped."""
    root = str(trainer.get("default_root_dir") or ".")
    places = [(root, "hpc_ckpt_*.ckpt")]  # what Lightning saves when SLURM ends a job
    if not (loggers := _configured(trainer.get("logger"))):
        places += [(root, "checkpoints/*.ckpt"), (root, "lightning_logs/*/checkpoints/*.ckpt")]
    for options in loggers:
        folder = str(options.get("save_dir") or root)
        name = options.get("project", options.get("name", "*"))  # an experiment of MLflow: a number
        places.append((folder, posixpath.join(name or "", "*/checkpoints/*.ckpt")))
    for options in _configured(trainer.get("callbacks")):
        if options.get("dirpath"):
            places.append((str(options["dirpath"]), "*.ckpt"))
    for folder, pattern in places:
        yield posixpath.join(folder, pattern), posixpath.join(glob.escape(folder), pattern)


def _configured(value: Any) -> list[Mapping[str, Any]]:
    """The constructor's arguments of the classes that an option of the Trainer names."""
    several = value if isinstance(value, list) else [value]
    return [one["init_args"] for one in several if isinstance(one, Mapping) and "init_args" in one]


def _best(newest: str) -> str:
    """The checkpoint that the run of another one chose as its best.

    Raises:
        ValueError: If that run compared no metric.
        FileNotFoundError: If the best checkpoint is gone.
    """
    callbacks = checkpoints.read_checkpoint(newest, map_location="meta").get("callbacks", {})
    for state in callbacks.values():
        if isinstance(state, Mapping) and state.get("monitor") and state.get("best_model_path"):
            named = str(state["best_model_path"])
            beside = posixpath.join(
                posixpath.dirname(newest), posixpath.basename(named.replace("\\", "/"))
            )
            for path in (named, beside):  # a run's folder may have been moved
                files, local = url_to_fs(path)
                if files.exists(local):
                    return path
            raise FileNotFoundError(f"--ckpt_path best: the best checkpoint, {named}, is gone")
    raise ValueError(
        f"--ckpt_path best: the run of {newest} compared no metric; use last, or train with "
        "--trainer.callbacks ModelCheckpoint --trainer.callbacks.monitor val/loss"
    )
