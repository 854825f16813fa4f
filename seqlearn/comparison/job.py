"""What a run of a comparison is, and the files in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seqlearn.atomic_files import atomic_path
from seqlearn.core import SequenceModule
from seqlearn.data import SequenceDataModule

Report = Callable[[dict[str, Any]], None]
"""Takes the progress of a run as plain data."""


@dataclass(frozen=True)
class Job:
    """One model with one seed.

    Attributes:
        label: The name of the model.
        cls: Its class.
        options: Its arguments besides `spec`.
        seed: The seed of its weights and of the random numbers of training.
        data: The data module.
        folder: The folder of the run.
        trainer: Arguments of the Trainer.
        minutes: Training time, if that is limited.
        threads: Threads of PyTorch on the CPU.
        detailed: Whether samples and activations are kept too.
    """

    label: str
    cls: type[SequenceModule]
    options: dict[str, Any]
    seed: int
    data: SequenceDataModule
    folder: Path
    trainer: dict[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    threads: int = 1
    detailed: bool = True

    @property
    def trained(self) -> Path:
        """The checkpoint of the trained model."""
        return self.folder / "trained.ckpt"

    @property
    def result(self) -> Path:
        """The measured figures; the run is complete if the file exists."""
        return self.folder / "result.json"

    @property
    def recording(self) -> Path:
        """The recorded activations of an example."""
        return self.folder / "recording.safetensors"


def write_json(path: Path, content: Any) -> None:
    """Write plain data; the file is complete or absent. Numbers that are not finite become null.

    Raises:
        OSError: If the file cannot be written.
    """
    text = json.dumps(finite(content), ensure_ascii=False, indent=1, allow_nan=False)
    with atomic_path(path, "the results", "the folder of the comparison", len(text)) as part:
        part.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read plain data; `None` if there is no such file.

    Raises:
        ValueError: If the file is damaged.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it to repeat its run") from None


def finite(value: Any) -> Any:
    """Plain data in which `None` replaces numbers that are not finite, which JSON lacks.

    Examples:
        >>> finite({"loss": [0.5, float("nan")]})
        {'loss': [0.5, None]}
    """
    if isinstance(value, dict):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if isinstance(value, float) and not (float("-inf") < value < float("inf")):
        return None
    return value
