"""From a graph to a program of `torch.export`."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from seqlearn.export.graphs import HEAD_MASK, DecoderGraph, Graph


def trace(graph: Graph) -> Any:
    """Trace a graph once for all sizes of its dynamic axes.

    Args:
        graph: The graph; its names of outputs are known afterwards.

    Returns:
        A `torch.export.ExportedProgram` from a list of tensors to a list of tensors.

    Raises:
        ValueError: If it cannot be traced: a part of the user's own depends on values or sizes.
    """
    examples = ([port.example for port in graph.ports],)
    try:
        with torch.no_grad(), quiet():
            return torch.export.export(graph, examples, dynamic_shapes=graph.dynamic_shapes())
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"the {graph.name} of {type(graph.module).__name__} cannot be traced: {reason[0]}; "
            "write the parts of your own without Python branches on values and sizes"
        ) from error
    finally:
        _rename_proxies({type(module) for module in graph.modules()})


def _rename_proxies(traced: set[type[Any]]) -> None:
    """Give the subclasses that tracing made of the modules' classes a name of their own.

    `torch.export` names them like the modules' classes, and they may stay in memory: then a class
    that is looked up by its name, as by the command line, would be found twice.
    """
    for cls in traced:
        for made in cls.__subclasses__():
            if any(base.__name__ == "AttrProxy" for base in made.__bases__):
                made.__name__ = "AttrProxy"
                made.__qualname__ = f"{trace.__name__}.<locals>.AttrProxy"


def graph_config(graph: Graph) -> dict[str, Any]:
    """What `export.json` says about a traced graph."""
    config: dict[str, Any] = {
        "inputs": {port.name: list(port.sizes) for port in graph.ports},
        "outputs": graph.outputs,
        "head_mask": None,
    }
    if graph.masked is not None:
        heads = next(port.example.shape[1] for port in graph.ports if port.name == HEAD_MASK)
        config["head_mask"] = {"names": graph.masked, "heads": heads}
    if isinstance(graph, DecoderGraph):
        step = graph.step
        config["memory"] = list(step.memory)
        config["states"] = {state.name: list(state.shape) for state in step.states}
        config["given_states"] = list(step.given_states)
        config["one_token"] = step.one_token
    return config


@contextmanager
def quiet() -> Iterator[None]:
    """Without the notes of torch's exporters on torchvision and on deprecated parts of torch."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        logger.setLevel(before)
