"""The folder of an export: graphs, `export.json`, and what runs them without seqlearn."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from seqlearn.atomic_files import atomic_path
from seqlearn.core import SequenceModule
from seqlearn.core.generation_config import GenerationConfig, default_max_new_tokens
from seqlearn.export.config_file import CONFIG, FORMAT, read_config
from seqlearn.models.feedforward import FeedForwardEncoder
from seqlearn.nn import LearnedPositions
from seqlearn.spec import GeneratedSpec
from seqlearn.version import __version__

KINDS = ("text", "classes", "vector")
"""The types of source and target that an exported model reads and returns."""

COPIED = ("runtime", "config_file", "onnx_runner", "options", "search", "sides")
"""The files of `seqlearn.export` that run ONNX graphs, copied into the folder."""


@contextmanager
def export_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write an export to, which replaces `path` when it is complete.

    `export.json` then lists its files, so that the next export knows which ones it may replace.

    Args:
        path: A new or empty folder, or an earlier export, which is replaced.

    Raises:
        FileExistsError: If it holds other files.
        OSError: If it cannot be written.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise FileExistsError(f"{target}: expected a folder to export to, got a file")
    if others := _others(target):
        raise FileExistsError(
            f"{target}: expected a new or empty folder, or an earlier export, got a folder with "
            f"other files, such as {others[0]}; choose another folder with --out"
        )
    with atomic_path(target, "the export", "--out") as part:
        part.mkdir()
        yield part
        write_config(part, read_config(part) | {"files": _files(part)})


def _files(folder: Path) -> list[str]:
    """The files of a folder, relative to it, without what Python caches."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in found if "__pycache__" not in path.parts)


def _others(folder: Path) -> list[str]:
    """The files of a folder that no export has written."""
    if not folder.is_dir():
        return []
    try:
        known = set(read_config(folder).get("files", ()))
    except (FileNotFoundError, ValueError):
        known = set()
    return [name for name in _files(folder) if name not in known]


def check_spec(module: SequenceModule) -> None:
    """Check that source and target are of types that an exported model reads and returns.

    Raises:
        ValueError: If one is not.
    """
    for name in ("source", "target"):
        side = getattr(module.spec, name)
        if side is not None and side.kind not in KINDS:
            raise ValueError(
                f"export supports sources and targets of the kinds {', '.join(KINDS)}, and the "
                f"{name} of this model is {side.kind}"
            )


def check_strategy(module: SequenceModule) -> None:
    """Check that the saved options generate by a search, which an exported model has.

    Raises:
        ValueError: If they sample.
    """
    if module.spec.target.needs_decoder and module.generation.strategy == "sample":
        raise ValueError(
            f"an export searches and does not sample, and the saved strategy of this "
            f"{type(module).__name__} is 'sample'; set model.generation = "
            "GenerationConfig('greedy') or GenerationConfig('beam') before the export"
        )


RULES = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "min_new_tokens": 0}
"""Options that change logits, and the values with which they change nothing."""


def changed_rules(generation: GenerationConfig) -> list[str]:
    """The options of `RULES` that are set."""
    return [name for name, off in RULES.items() if getattr(generation, name) != off]


def config_of(module: SequenceModule, format_name: str) -> dict[str, Any]:
    """What every export says about its model: spec, decoding options and limits."""
    target = module.spec.target
    generation = asdict(module.generation)
    if generation["max_new_tokens"] is None:
        generation["max_new_tokens"] = default_max_new_tokens(target.longest)
    return {
        "version": FORMAT,
        "format": format_name,
        "seqlearn": __version__,
        "model": type(module).__name__,
        "spec": module.spec.to_dict(),
        "generation": generation,
        "suppressed_ids": list(target.suppressed_ids) if isinstance(target, GeneratedSpec) else [],
        "output_size": target.output_size,
        "limits": _limits(module),
    }


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write `export.json`."""
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def copy_runtime(folder: Path) -> None:
    """Copy the files that run the folder without seqlearn and torch."""
    for name in COPIED:
        text = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
        text = text.replace("from seqlearn.export.", "from ")
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


def _limits(module: SequenceModule) -> dict[str, Any]:
    """The most tokens that source and target may have, where the model has a limit."""
    limits: dict[str, Any] = {}
    encoder: Any = module.encoder
    if module.spec.source is not None and module.spec.source.is_sequence:
        if isinstance(encoder, FeedForwardEncoder):
            is_error = encoder.overflow == "error"
            advice = "shorten it" if is_error else "the last of them are read"
            limits["source"] = _limit(encoder.window, advice, is_error=is_error)
        elif isinstance(positions := getattr(encoder, "positions", None), LearnedPositions):
            limits["source"] = _limit(len(positions.weight), "shorten it", is_error=True)
    positions = getattr(module.decoder, "positions", None)
    if module.spec.target.needs_decoder and isinstance(positions, LearnedPositions):
        advice = "shorten the prompt, or lower max_new_tokens"
        limits["target"] = _limit(len(positions.weight), advice, is_error=True)
    return limits


def _limit(tokens: int, advice: str, *, is_error: bool) -> dict[str, Any]:
    return {"tokens": tokens, "advice": advice, "is_error": is_error}
