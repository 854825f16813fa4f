"""ONNX: a graph of the encoder and a graph of one decoder step, for onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from seqlearn.core import SequenceModule
from seqlearn.export.checking import check_export
from seqlearn.export.folder import (
    check_spec,
    config_of,
    copy_runtime,
    export_folder,
    write_config,
)
from seqlearn.export.graphs import DecoderGraph, Graph, make_graphs
from seqlearn.export.packages import require
from seqlearn.export.runtime import ExportedModel
from seqlearn.export.tracing import graph_config, quiet, trace

OPSET = 18
"""The version of the ONNX operators, which onnxruntime runs since 1.14."""


def export_onnx(
    module: SequenceModule,
    path: str | os.PathLike[str],
    *,
    record: Sequence[str] = (),
    head_mask: bool = False,
) -> None:
    """Write `encoder.onnx` and `decoder.onnx` with what runs them; see `SequenceModule.export`."""
    require("onnx")
    require("onnxscript")
    require("onnxruntime")
    check_spec(module)
    config = config_of(module, "onnx")
    with export_folder(path) as folder:
        config["graphs"] = {}
        for graph in make_graphs(module, record, head_mask=head_mask):
            if graph is None:
                continue
            name = graph.name
            _write(graph, folder / f"{name}.onnx")
            config["graphs"][name] = {"file": f"{name}.onnx", **graph_config(graph)}
        write_config(folder, config)
        copy_runtime(folder)
        check_export(module, ExportedModel(folder, threads=1))


def _write(graph: Graph, path: Path) -> None:
    """Write a graph, and for a decoder the search for the best tokens too."""
    program = trace(graph)
    with quiet():
        exported: Any = torch.onnx.export(
            program,
            input_names=[port.name for port in graph.ports],
            output_names=graph.outputs,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        exported.save(str(path))
    if isinstance(graph, DecoderGraph):
        _add_best_tokens(path, graph.module.spec.target)


def _add_best_tokens(path: Path, target: Any) -> None:
    """Add the outputs `next`, and `best_log_probs` and `best_ids` for an input `count`.

    Ids that are never generated have no probability in them, as in `seqlearn.decoding`.
    """
    onnx = require("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    model = onnx.load(str(path))
    graph = model.graph
    allowed = [0.0] * target.output_size
    for number in target.suppressed_ids:
        allowed[number] = float("-inf")
    graph.initializer.append(helper.make_tensor("allowed", kinds.FLOAT, [len(allowed)], allowed))
    graph.node.extend(
        [
            helper.make_node("Add", ["logits", "allowed"], ["allowed_logits"]),
            helper.make_node("ArgMax", ["allowed_logits"], ["next"], axis=-1, keepdims=0),
            helper.make_node("LogSoftmax", ["logits"], ["log_probs"], axis=-1),
            helper.make_node("Add", ["log_probs", "allowed"], ["allowed_log_probs"]),
            helper.make_node(
                "TopK", ["allowed_log_probs", "count"], ["best_log_probs", "best_ids"], axis=-1
            ),
        ]
    )
    graph.input.append(helper.make_tensor_value_info("count", kinds.INT64, [1]))
    best = ["batch", "beam", "best"]
    graph.output.extend(
        [
            helper.make_tensor_value_info("next", kinds.INT64, best[:2]),
            helper.make_tensor_value_info("best_log_probs", kinds.FLOAT, best),
            helper.make_tensor_value_info("best_ids", kinds.INT64, best),
        ]
    )
    onnx.save(model, str(path))
