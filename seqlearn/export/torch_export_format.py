"""`torch.export`: programs of the encoder and of one decoder step, for torch alone."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seqlearn.core import SequenceModule
from seqlearn.export.checking import check_export
from seqlearn.export.folder import check_spec, config_of, export_folder, write_config
from seqlearn.export.graphs import make_graphs
from seqlearn.export.runtime import Array, ExportedModel, read_config
from seqlearn.export.tracing import graph_config, quiet, trace

BEST = ("next", "best_log_probs", "best_ids")
"""What an ONNX graph of a decoder returns besides the outputs of the program."""


class TorchRunner:
    """Runs a program of `torch.export`.

    Args:
        path: The program.
        graph: What `export.json` says about it.
        suppressed: Ids that are never generated.
    """

    def __init__(self, path: Path, graph: Mapping[str, Any], suppressed: Sequence[int]) -> None:
        with quiet():
            self._program = torch.export.load(path).module()
        self._inputs, self._outputs = list(graph["inputs"]), list(graph["outputs"])
        self._suppressed = torch.tensor(suppressed, dtype=torch.long)

    @torch.no_grad()
    def __call__(self, feed: Mapping[str, Any], fetch: Sequence[str]) -> list[Any]:
        """Compute outputs by name."""
        found = dict(zip(self._outputs, self._program(self._tensors(feed)), strict=True))
        if set(fetch) & set(BEST):
            found |= self._best(found["logits"], int(feed["count"][0]))
        return [found[name] for name in fetch]

    def to_numpy(self, value: Any) -> Array:
        """An output as an array."""
        array: Array = value.numpy()
        return array

    def _tensors(self, feed: Mapping[str, Any]) -> list[Tensor]:
        return [torch.as_tensor(feed[name]) for name in self._inputs]

    def _best(self, logits: Tensor, count: int) -> dict[str, Tensor]:
        def allowed(scores: Tensor) -> Tensor:
            return scores.index_fill(-1, self._suppressed, -np.inf)

        log_p, ids = allowed(logits.log_softmax(-1)).topk(count)
        return dict(zip(BEST, (allowed(logits).argmax(-1), log_p, ids), strict=True))


def export_torch(
    module: SequenceModule,
    path: str | os.PathLike[str],
    *,
    record: Sequence[str] = (),
    head_mask: bool = False,
) -> None:
    """Write `encoder.pt2` and `decoder.pt2`; see `SequenceModule.export`."""
    check_spec(module)
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
        write_config(folder, config)
        check_export(module, load_torch(folder))


def load_torch(folder: str | os.PathLike[str]) -> ExportedModel:
    """Run an export of the format `"torch-export"`."""
    config = read_config(folder)
    suppressed = config["suppressed_ids"]
    runners = {
        name: TorchRunner(Path(folder) / graph["file"], graph, suppressed)
        for name, graph in config["graphs"].items()
    }
    return ExportedModel(folder, runners=runners)
