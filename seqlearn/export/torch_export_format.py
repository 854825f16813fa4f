"""`torch.export`: programs of the encoder and of one decoder step, for torch alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqlearn.core import SequenceModule
from seqlearn.export.checking import check_export
from seqlearn.export.config_file import check_files, read_config
from seqlearn.export.folder import (
    check_spec,
    check_strategy,
    config_of,
    export_folder,
    write_config,
)
from seqlearn.export.graphs import check_recorded, make_graphs
from seqlearn.export.onnx_runner import Array, Runner
from seqlearn.export.runtime import ExportedModel
from seqlearn.export.tracing import graph_config, quiet, trace

CHOICES = {"next": ["next", "total"], "best": ["best_log_probs", "best_ids"]}
"""The graphs that choose tokens, which are functions of torch here, and their outputs."""


class TorchRunner:
    """Runs a program of `torch.export`.

    Args:
        path: The program.
        graph: What `export.json` says about it.

    Raises:
        ValueError: If torch cannot load the program.
    """

    def __init__(self, path: Path, graph: Mapping[str, Any]) -> None:
        try:
            with quiet():
                # Guards are of the sizes of the trace, such as more than one beam.
                self._program = torch.export.load(path).module(check_guards=False)
        except Exception as error:  # of a damaged file: of many classes
            raise ValueError(
                f"{path}: expected a program that torch {torch.__version__} can load, got the "
                f"error: {error}; copy the whole folder again, or export again with this version"
            ) from error
        self._inputs, self._outputs = list(graph["inputs"]), list(graph["outputs"])

    @torch.no_grad()
    def __call__(self, feed: Mapping[str, Any], fetch: Sequence[str]) -> list[Any]:
        """Compute outputs by name."""
        tensors = [torch.as_tensor(feed[name]) for name in self._inputs]
        found = dict(zip(self._outputs, self._program(tensors), strict=True))
        return [found[name] for name in fetch]

    def to_numpy(self, value: Any) -> Array:
        """An output as an array."""
        array: Array = value.numpy()
        return array


class TorchChoice:
    """Chooses tokens by their logits.

    Args:
        suppressed: Ids that are never generated.
    """

    def __init__(self, suppressed: Sequence[int]) -> None:
        self._suppressed = torch.tensor(suppressed, dtype=torch.long)

    def __call__(self, feed: Mapping[str, Any], fetch: Sequence[str]) -> list[Any]:
        """The most probable token, or the best with their log-probabilities."""
        logits = feed["logits"]
        if "next" in fetch:
            best = logits.index_fill(-1, self._suppressed, -np.inf).argmax(-1)
            return [best, logits.sum(-1)]
        log_p = logits.log_softmax(-1).index_fill(-1, self._suppressed, -np.inf)
        return list(log_p.topk(int(feed["count"][0])))

    def to_numpy(self, value: Any) -> Array:
        """An output as an array."""
        array: Array = value.numpy()
        return array


def export_torch(
    module: SequenceModule,
    path: str | os.PathLike[str],
    *,
    record: Sequence[str] = (),
    head_mask: bool = False,
) -> None:
    """Write `encoder.pt2` and `decoder.pt2`; see `SequenceModule.export`."""
    check_spec(module)
    check_strategy(module)
    record = record if isinstance(record, str) else tuple(record)
    config = config_of(module, "torch-export")
    with export_folder(path) as folder:
        config["graphs"] = {}
        for graph in make_graphs(module, record, head_mask=head_mask):
            if graph is None:
                continue
            file = f"{graph.name}.pt2"
            program = trace(graph)
            with quiet():
                torch.export.save(program, folder / file)
            config["graphs"][graph.name] = {"file": file, **graph_config(graph)}
        check_recorded(module, record, config["graphs"])
        if module.spec.target.needs_decoder:
            for name, outputs in CHOICES.items():
                config["graphs"][name] = {"file": None, "outputs": outputs, "head_mask": None}
        write_config(folder, config)
        check_export(module, load_torch(folder))


def load_torch(folder: str | os.PathLike[str]) -> ExportedModel:
    """Run an export of the format `"torch-export"`.

    Raises:
        FileNotFoundError: If the folder is no export, or a file is missing.
        ValueError: If `export.json` is damaged.
    """
    config = read_config(folder)
    check_files(folder, [each["file"] for each in config["graphs"].values() if each["file"]])
    choice = TorchChoice(config["suppressed_ids"])
    runners: dict[str, Runner] = {
        name: TorchRunner(Path(folder) / graph["file"], graph) if graph["file"] else choice
        for name, graph in config["graphs"].items()
    }
    return ExportedModel(folder, runners=runners)
