"""Runs one graph of an exported folder, by onnxruntime.

This file imports nothing of seqlearn or torch, for each exported folder holds a copy of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Names = Sequence[str]


@runtime_checkable
class Runner(Protocol):
    """Runs one graph of an exported folder."""

    def __call__(self, feed: Mapping[str, Any], fetch: Names) -> list[Any]:
        """Compute outputs by name. Inputs are arrays, or outputs of a call as they are."""
        ...

    def to_numpy(self, value: Any) -> Array:
        """An output as an array."""
        ...


class OnnxRunner:
    """Runs an ONNX graph in onnxruntime, on the CPU unless `providers` says otherwise.

    Args:
        path: The graph.
        providers: As in `onnxruntime.InferenceSession`.
        threads: Threads of one operator; 0 is onnxruntime's choice.

    Raises:
        ModuleNotFoundError: If onnxruntime is not installed.
        ValueError: If onnxruntime cannot load the graph.
    """

    def __init__(self, path: Path, providers: Names = (), threads: int = 0) -> None:
        try:
            onnxruntime = importlib.import_module("onnxruntime")  # other formats do not need it
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "ONNX graphs need onnxruntime, which is not installed; pip install onnxruntime",
                name="onnxruntime",
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._value = onnxruntime.OrtValue
        used = list(providers) or ["CPUExecutionProvider"]
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=used)
        except Exception as error:  # those of onnxruntime have no class in common
            raise ValueError(
                f"{path}: expected a graph that onnxruntime can load with {', '.join(used)}, got "
                f"the error: {error}; if the providers are right, copy the whole folder again, or "
                "export again"
            ) from error

    def __call__(self, feed: Mapping[str, Any], fetch: Names) -> list[Any]:
        """Compute outputs by name."""
        values = {
            name: self._value.ortvalue_from_numpy(each) if isinstance(each, np.ndarray) else each
            for name, each in feed.items()
        }
        found: list[Any] = self._session.run_with_ort_values(list(fetch), values)
        return found

    def to_numpy(self, value: Any) -> Array:
        """An output as an array."""
        array: Array = value.numpy()
        return array
