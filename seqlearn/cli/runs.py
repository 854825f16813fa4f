"""The checkpoints of earlier runs: resolves `--ckpt_path last`, `best` and `auto`.

`ModelCheckpoint` writes a run's checkpoints to `lightning_logs/version_N/checkpoints` below
`--trainer.default_root_dir` (to `checkpoints` without a logger), below the `save_dir` of a
configured logger, or to the `dirpath` of a callback. The newest run is the folder with the newest
checkpoint.
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
"""The values of `--ckpt_path` that each command supports besides a path."""


def resolve(command: str, value: str, trainer: Mapping[str, Any]) -> str | None:
    """Find the checkpoint that `--ckpt_path` names.

    Args:
        command: `"fit"`, `"validate"`, `"test"` or `"predict"`.
        value: `"last"`, `"best"`, `"auto"` or a path.
        trainer: The Trainer's configuration.

    Returns:
        The path; `None` if the value is `"auto"` and there is no earlier run.

    Raises:
        ValueError: If the command does not support the value, or the newest run monitored no
            metric.
        FileNotFoundError: If there is no earlier run.
    """
    if value not in ("last", "best", "auto"):
        return value
    if value not in (allowed := KEYWORDS[command]):
        raise ValueError(
            f"{command} expected --ckpt_path {', '.join(allowed)} or a path, got {value!r}"
        )
    newest = newest_checkpoint(trainer)
    if newest is not None:
        return _best(newest) if value == "best" else newest
    if value == "auto":
        return None
    folders = ", ".join(pattern for pattern, _ in _patterns(trainer))
    raise FileNotFoundError(
        f"--ckpt_path {value}: expected the checkpoint of an earlier run in {folders}, found none; "
        "pass its path, or the run's folder as --trainer.default_root_dir"
    )


def newest_checkpoint(trainer: Mapping[str, Any]) -> str | None:
    """The newest checkpoint of the newest run, or `None`; `last.ckpt` wins a tie."""
    found = []
    for _, escaped in _patterns(trainer):
        files, pattern = url_to_fs(escaped)
        found += [
            files.unstrip_protocol(path).removeprefix("file://") for path in files.glob(pattern)
        ]
    return newest_of(found)


def newest_of(paths: Iterable[str]) -> str | None:
    """The existing path that was written last; `last.ckpt` wins a tie, then the greater name."""
    found = []
    for path in paths:
        files, local = url_to_fs(path)
        if files.exists(local):
            is_last = posixpath.basename(local).startswith("last")
            found.append((files.modified(local), is_last, path))
    return max(found)[2] if found else None


def _patterns(trainer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Patterns of checkpoints, each for messages and with its folder escaped for `glob`."""
    root = str(trainer.get("default_root_dir") or ".")
    folders = [(root, "hpc_ckpt_*.ckpt")]  # saved by Lightning when SLURM ends a job
    if not (loggers := _configured(trainer.get("logger"))):
        folders += [(root, "checkpoints/*.ckpt"), (root, "lightning_logs/*/checkpoints/*.ckpt")]
    for options in loggers:
        folder = str(options.get("save_dir") or root)
        name = options.get("project", options.get("name", "*"))  # MLflow: an experiment's number
        folders.append((folder, posixpath.join(name or "", "*/checkpoints/*.ckpt")))
    for options in _configured(trainer.get("callbacks")):
        if options.get("dirpath"):
            folders.append((str(options["dirpath"]), "*.ckpt"))
    for folder, pattern in folders:
        yield posixpath.join(folder, pattern), posixpath.join(glob.escape(folder), pattern)


def _configured(value: Any) -> list[Mapping[str, Any]]:
    """The constructor arguments of the classes in an option of the Trainer."""
    values = value if isinstance(value, list) else [value]
    return [one["init_args"] for one in values if isinstance(one, Mapping) and "init_args" in one]


def _best(newest: str) -> str:
    """The best checkpoint of the run that another checkpoint belongs to.

    Raises:
        ValueError: If that run monitored no metric, or saved only weights.
        FileNotFoundError: If the best checkpoint was deleted.
    """
    callbacks = checkpoints.read_checkpoint(newest, map_location="meta").get("callbacks")
    if callbacks is None:
        raise ValueError(
            f"--ckpt_path best: {newest} holds weights only (save_weights_only), not which "
            "checkpoint is the best; pass its path"
        )
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
            raise FileNotFoundError(
                f"--ckpt_path best: the best checkpoint, {named}, does not exist any more"
            )
    raise ValueError(
        f"--ckpt_path best: the run of {newest} monitored no metric; use last, or train with "
        "--trainer.callbacks ModelCheckpoint --trainer.callbacks.monitor val/loss"
    )
