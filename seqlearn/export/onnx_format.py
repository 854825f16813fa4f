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
    check_strategy,
    config_of,
    copy_runtime,
    export_folder,
    write_config,
)
from seqlearn.export.graphs import DecoderGraph, Graph, check_recorded, make_graphs
from seqlearn.export.packages import require
from seqlearn.export.runtime import ExportedModel
from seqlearn.export.tracing import graph_config, quiet, trace

OPSET = 18
"""The version of the ONNX operators, which onnxruntime runs since 1.14."""

IR_VERSION = 8
"""The version of the format of ONNX files that belongs to it."""


def export_onnx(
    module: SequenceModule,
    path: str | os.PathLike[str],
    *,
    record: Sequence[str] = (),
    head_mask: bool = False,
) -> None:
    """Write `encoder.onnx` and `decoder.onnx` with what runs them; see `SequenceModule.export`."""
    check_spec(module)
    check_strategy(module)
    record = record if isinstance(record, str) else tuple(record)
    with export_folder(path) as folder:
        config = write_graphs(module, folder, record, head_mask=head_mask)
        check_recorded(module, record, config["graphs"])
        copy_runtime(folder)
        check_export(module, ExportedModel(folder, threads=1))


def write_graphs(
    module: SequenceModule, folder: Path, record: Sequence[str], *, head_mask: bool
) -> dict[str, Any]:
    """Write the graphs and `export.json` into a folder.

    Returns:
        The contents of `export.json`.

    Raises:
        ModuleNotFoundError: If a package of the extra `export` is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require(package)
    config = config_of(module, "onnx") | {"graphs": {}}
    for graph in make_graphs(module, record, head_mask=head_mask):
        if graph is None:
            continue
        name = graph.name
        _write(graph, folder / f"{name}.onnx")
        config["graphs"][name] = {"file": f"{name}.onnx", **graph_config(graph)}
    if isinstance(graph, DecoderGraph):
        config["graphs"] |= _write_choices(folder, module.spec.target)
    write_config(folder, config)
    return config


def _write(graph: Graph, path: Path) -> None:
    """Write a graph."""
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


def _write_choices(folder: Path, target: Any) -> dict[str, Any]:
    """Write the graphs that choose tokens by their logits: `next.onnx` and `best.onnx`.

    They are separate because onnxruntime computes all outputs of a graph. Ids that are never
    generated have no probability in them, as in `seqlearn.decoding`.

    Returns:
        Their entries in `export.json`.
    """
    onnx = require("onnx")
    helper, kinds = onnx.helper, onnx.TensorProto
    allowed = [0.0] * target.output_size
    for number in target.suppressed_ids:
        allowed[number] = float("-inf")
    constant = helper.make_tensor("allowed", kinds.FLOAT, [len(allowed)], allowed)
    last = helper.make_tensor("last", kinds.INT64, [1], [-1])

    def value(name: str, kind: int, *sizes: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, sizes)

    logits = value("logits", kinds.FLOAT, "batch", "beam", target.output_size)
    choices = {
        "next": (
            [
                helper.make_node("Add", ["logits", "allowed"], ["allowed_logits"]),
                helper.make_node("ArgMax", ["allowed_logits"], ["next"], axis=-1, keepdims=0),
                # NaN if one of them is: an ArgMax says nothing of that.
                helper.make_node("ReduceSum", ["logits", "last"], ["total"], keepdims=0),
            ],
            [logits],
            [
                value("next", kinds.INT64, "batch", "beam"),
                value("total", kinds.FLOAT, "batch", "beam"),
            ],
        ),
        "best": (
            [
                helper.make_node("LogSoftmax", ["logits"], ["log_probs"], axis=-1),
                helper.make_node("Add", ["log_probs", "allowed"], ["allowed_log_probs"]),
                helper.make_node(
                    "TopK", ["allowed_log_probs", "count"], ["best_log_probs", "best_ids"], axis=-1
                ),
            ],
            [logits, value("count", kinds.INT64, 1)],
            [
                value("best_log_probs", kinds.FLOAT, "batch", "beam", "best"),
                value("best_ids", kinds.INT64, "batch", "beam", "best"),
            ],
        ),
    }
    constants = {"next": [constant, last], "best": [constant]}
    config = {}
    for name, (nodes, inputs, outputs) in choices.items():
        graph = helper.make_graph(nodes, name, inputs, outputs, constants[name])
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
        onnx.save(model, str(folder / f"{name}.onnx"))
        names = [each.name for each in outputs]
        config[name] = {"file": f"{name}.onnx", "outputs": names, "head_mask": None}
    return config
