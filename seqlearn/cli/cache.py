"""`seqlearn cache`: lists prepared data and downloads, and deletes what is no longer needed."""

from __future__ import annotations

import argparse
import fnmatch
import re
from collections.abc import Sequence

from seqlearn.cli.arguments import ArgumentParser
from seqlearn.data.cache import CACHE_OPTION, cache_root
from seqlearn.data.cache_entries import CacheEntry, cache_entries, remove

_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def cache(argv: Sequence[str]) -> None:
    """List the cache, or delete a part of it.

    Raises:
        argparse.ArgumentError: If the arguments do not fit together.
    """
    parser = ArgumentParser(
        prog="seqlearn cache",
        description="List prepared data and downloads with their sizes, or delete some of them. "
        f"They are in {cache_root()}; {CACHE_OPTION} names another folder.",
        epilog="What a process uses is never deleted. Deleted data is prepared again when it is "
        "needed.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "prune"), default="list")
    parser.add_argument(
        "--older-than", type=_days, metavar="DAYS", help="delete what was not used for so many days"
    )
    parser.add_argument(
        "--max-size",
        type=_bytes,
        metavar="SIZE",
        help="delete what was not used for the longest time, until the cache has at most this "
        "size, such as 500M or 2G",
    )
    parser.add_argument(
        "--name", metavar="PATTERN", help="only entries with this name, such as TextPairs or 'T*'"
    )
    parser.add_argument("--dry-run", action="store_true", help="only print what would be deleted")
    options = parser.parse_args(argv)
    entries = [
        entry
        for entry in cache_entries()
        if options.name is None
        or fnmatch.fnmatchcase(entry.name, options.name)
        or entry.path.name.startswith(options.name)
    ]
    if options.action == "list":
        if options.older_than is not None or options.max_size is not None or options.dry_run:
            raise argparse.ArgumentError(
                None, "--older-than, --max-size and --dry-run are for `seqlearn cache prune`"
            )
        print(_table(entries))
        return
    if options.older_than is None and options.max_size is None and options.name is None:
        raise argparse.ArgumentError(
            None,
            "expected --older-than, --max-size or --name, which say what to delete; "
            "--older-than 0 deletes everything",
        )
    _prune(_selected(entries, options.older_than, options.max_size), dry_run=options.dry_run)


def _selected(
    entries: Sequence[CacheEntry], days: float | None, size: int | None
) -> list[CacheEntry]:
    """The entries to delete: old ones, and further ones until the rest is small enough."""
    if days is None and size is None:
        return list(entries)
    chosen = [entry for entry in entries if days is not None and entry.age >= days]
    rest = [entry for entry in entries if entry not in chosen]
    left = sum(entry.size for entry in rest)
    for entry in rest:
        if size is None or left <= size:
            break
        chosen.append(entry)
        left -= entry.size
    return chosen


def _prune(entries: Sequence[CacheEntry], *, dry_run: bool) -> None:
    freed = 0
    for entry in entries:
        gone = dry_run or remove(entry)
        freed += entry.size if gone else 0
        verb = "would delete" if dry_run else "deleted" if gone else "in use, not deleted:"
        print(f"{verb} {_line(entry)}")
    print(f"{'would free' if dry_run else 'freed'} {_readable(freed)}")


def _table(entries: Sequence[CacheEntry]) -> str:
    total = _readable(sum(entry.size for entry in entries))
    head = f"{cache_root()}: {len(entries)} entries, {total}"
    return "\n".join([head, *map(_line, entries)])


def _line(entry: CacheEntry) -> str:
    age = f"{entry.age:.0f} days"
    return (
        f"{_readable(entry.size):>9}  {age:>8}  {entry.path.name[:12]:12}  {entry.name}"
        f"{': ' if entry.about else ''}{entry.about}"
    )


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < float("inf"):
        raise ValueError
    return days


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]?)B?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 500M or 2G, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])
