"""All processes of a run must have prepared the same data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_same_on_ranks(trainer: Any, what: Mapping[str, Any]) -> None:
    """Check that all processes have the same values; all of them must call it.

    Machines with different copies of the files, or a seed that differs between processes, would
    otherwise train on other examples than those that a rank is given, without an error.

    Args:
        trainer: The Trainer of this process.
        what: The values by name; they must be picklable.

    Raises:
        ValueError: On all ranks, if a rank has other values than rank zero.
    """
    if trainer is None or trainer.world_size <= 1:
        return
    first = trainer.strategy.broadcast(dict(what))
    differing = [name for name, value in what.items() if first[name] != value]
    if trainer.strategy.reduce_boolean_decision(not differing, all=True):
        return
    if differing:
        name = differing[0]
        raise ValueError(
            f"rank {trainer.global_rank} has another {name} than rank 0 ({what[name]} against "
            f"{first[name]}); all processes must read the same files with the same arguments: "
            "compare the copies on each machine"
        )
    raise ValueError(
        "another process has other data than rank 0; its error names the difference. All processes "
        "must read the same files with the same arguments"
    )
