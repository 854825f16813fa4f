"""The check of an export: it computes what the model computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seqlearn.batch import START
from seqlearn.core import SequenceModule
from seqlearn.export.runtime import ExportedModel
from seqlearn.export.traceable import cpu_copy

TOLERANCE = 1e-3


def check_export(module: SequenceModule, exported: ExportedModel) -> None:
    """Compare an exported model with its module, on random sources and tokens.

    The decoder is compared over two steps, so that its state is too.

    Raises:
        ValueError: If they differ by more than rounding: a subclass computes something that the
            export does not see.
    """
    model = cpu_copy(module)
    rng = np.random.default_rng(0)
    spec: Any = model.spec
    encoded: list[Any] = [(), ()]
    source = lengths = None
    if spec.source is not None:
        most = min(3, exported.config["limits"].get("source", {"tokens": 3})["tokens"])
        encoded = [random_source(spec.source, rng, size) for size in (most, 1)]
        source, lengths = spec.source.collate(encoded, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        memory = model.encode(source, lengths)
        if not spec.target.needs_decoder:
            assert memory is not None
            (found,) = exported.run_encoder(encoded, ["outputs"])
            compare_outputs(module, model.head(memory.pooled), found)
            return
        given = exported.encode(encoded)
        names = exported.config["graphs"]["decoder"]["memory"]
        feed: dict[str, Any] = {name: given[name] for name in names}
        state: Any = None
        values = exported.initial_state(given, 2)
        tokens = np.full((2, 1), START)
        for _ in range(3):
            hidden, state = model.decode(torch.from_numpy(tokens), memory, state)
            feed |= values | {"tokens": tokens[:, None], "parents": np.array([[0], [1]])}
            fetch = ["logits", *(f"new.{name}" for name in values)]
            logits, *new = exported.step(feed, fetch)
            compare_outputs(module, model.head(hidden[:, -1]), exported.to_numpy(logits)[:, 0])
            values = dict(zip(values, new, strict=True))
            tokens = rng.integers(4, spec.target.output_size, (2, 1))


def random_source(side: Any, rng: Any, size: int) -> Any:
    """Random ids of `size` tokens, or a random vector, for a source or target."""
    if side.is_sequence:
        return rng.integers(4, side.vocab_size, size).tolist()
    return rng.standard_normal(side.size).astype(np.float32)


def compare_outputs(module: SequenceModule, expected: torch.Tensor, found: Any) -> None:
    """Compare outputs of a model with those of its export.

    Raises:
        ValueError: If they differ by more than rounding.
    """
    if not bool(expected.isfinite().all()):
        raise ValueError(
            f"the outputs of this {type(module).__name__} are NaN or infinite; export a checkpoint "
            "from before the training diverged"
        )
    difference = float(np.abs(expected.numpy() - found).max())
    if difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        return
    raise ValueError(
        f"the exported {type(module).__name__} differs from the model by {difference:.2g}; it "
        "overrides a part that the export replaces, such as encode, decode or a layer"
    )
