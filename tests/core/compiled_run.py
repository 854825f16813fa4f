"""Compiled modules beside uncompiled ones, in a process without the run-time checks of shapes.

Prints one JSON object; `test_compilation.py` runs it. torch.compile cannot trace the checks.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

import seqlearn as sl
from seqlearn.batch import length_mask
from seqlearn.nn import Dropout
from seqlearn.testing.trainer_stub import silence_lightning

SIDE = sl.TextSpec(vocab_size=12, max_length=40)
SPEC = sl.SequenceSpec(SIDE, SIDE)
SHAPES = [(4, 4, 4), (3, 5, 9), (6, 40, 36), (2, 12, 7)]
"""Rows, source and target lengths; equal ones first, and some beyond 32 keys."""

torch.set_num_threads(1)
Made = dict[str, Callable[[], sl.SequenceModule]]
MODULES: Made = {
    "Transformer": lambda: sl.Transformer(SPEC, d_model=8, num_layers=2, num_heads=2),
    "pre-norm, rotary": lambda: sl.Transformer(
        SPEC, d_model=8, num_layers=2, num_heads=2, norm="pre", positions="rotary"
    ),
    "language model": lambda: sl.Transformer(
        sl.SequenceSpec(None, SIDE), d_model=8, num_layers=2, num_heads=2
    ),
    "AttentionSeq2Seq": lambda: sl.AttentionSeq2Seq(SPEC, d_model=8),
    "FeedForward": lambda: sl.FeedForward(SPEC, d_model=8, window=40),
    "LSTM": lambda: sl.LSTM(SPEC, d_model=8),
    "GRU": lambda: sl.GRU(SPEC, d_model=8),
    "RNN": lambda: sl.RNN(SPEC, d_model=8),
}


def made(name: str, **options: Any) -> tuple[sl.SequenceModule, str]:
    """A module, compiled if there are options, and the warning of `compile`."""
    torch.manual_seed(0)
    module = MODULES[name]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if options:
            module.compile(**options)
    return module, "".join(str(each.message) for each in caught)


def batch_of(spec: sl.SequenceSpec, rows: int, source: int, target: int) -> sl.SequenceBatch:
    """Random ids, and random lengths."""

    def side(size: int, least: int) -> tuple[Tensor, Tensor]:
        lengths = torch.randint(least, size + 1, (rows,))
        return torch.randint(4, 12, (rows, size)) * length_mask(lengths, size), lengths

    sources = (None, None) if spec.source is None else side(source, 0)
    return sl.SequenceBatch(*sources, *side(target, 2))


def step(module: sl.SequenceModule, batch: sl.SequenceBatch) -> list[Tensor]:
    """The loss of a batch and all gradients, with the same random numbers each time."""
    torch.manual_seed(7)
    module.zero_grad()
    loss = module.compute_loss(batch).loss
    loss.backward()
    return [loss, *(p.grad for p in module.parameters() if p.grad is not None)]


def difference(mine: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference, relative to the largest number."""
    pairs = list(zip(mine, theirs, strict=True))
    return max(float((a - b).abs().max() / (1 + b.abs().max())) for a, b in pairs)


def many_lengths(name: str, backend: str) -> dict[str, Any]:
    """Training and evaluation on batches of many sizes, and generation."""
    torch._dynamo.reset()
    graphs: list[Any] = []

    def counting(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    plain, _ = made(name)
    compiled, said = made(name, backend=counting)
    found: dict[str, Any] = {"blocks": len({type(b) for b in compiled.blocks_to_compile()})}
    batches = [batch_of(plain.spec, *shape) for shape in SHAPES]
    found["train"] = max(difference(step(compiled, b), step(plain, b)) for b in batches)
    found["training graphs"] = len(graphs)
    with torch.inference_mode():
        for module in (plain.eval(), compiled.eval()):
            found[f"losses {module is plain}"] = [
                float(module.compute_loss(b).loss) for b in batches
            ]
    found["graphs"] = len(graphs)
    given: Any = {"max_new_tokens": 9, "return_scores": True}
    sources = {} if plain.spec.source is None else {"sources": [[5, 6, 7], [8], []]}
    texts = [module.generate(**sources, **given) for module in (plain, compiled)]
    found["generated"] = texts[0][0] == texts[1][0] and torch.equal(texts[0][1], texts[1][1])
    recorded = []
    for module in (plain, compiled):
        with sl.record(module) as recording:
            module(batches[1])
        recorded.append(recording)
    found["recorded"] = sorted(recorded[0].states) == sorted(recorded[1].states) and all(
        torch.equal(recorded[0].states[key], recorded[1].states[key]) for key in recorded[0].states
    )
    found["graphs in the end"] = len(graphs)
    found["broken"] = sum(torch._dynamo.utils.counters["graph_break"].values())
    found["names"] = list(plain.state_dict()) == list(compiled.state_dict())
    found["said"] = said
    return found


def fitted(folder: Path, *, compiled: bool, resumed: Path | None = None) -> Any:
    """The weights after a fit, and the checkpoint."""
    torch._dynamo.reset()
    texts = ["a b", "b", "c a b a", "a a a b c", "c", "b c b a", "a c", "b a b"] * 2
    data = sl.data.TextPairs(
        [(text, text[::-1]) for text in texts],
        val=[(text, text) for text in texts[:3]],
        source=sl.data.Text("char"),
        target=sl.data.Text("char"),
        batch_tokens=16,
    )
    torch.manual_seed(0)
    module = sl.FeedForward(data.spec, d_model=8, window=16)
    if compiled:
        module.compile(backend="eager")
    trainer = L.Trainer(
        max_epochs=1 if resumed is None else 2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, data, ckpt_path=resumed)
    path = folder / f"{compiled}{resumed is None}.ckpt"
    trainer.save_checkpoint(path)
    return [p.detach() for p in module.parameters()], path


class Mixer(nn.Module):
    """An encoder whose blocks are modules of torch, which `torch.compile` skips by itself.

    Each draws twice for tensors of one shape, which a compiler must not merge.
    """

    def __init__(self) -> None:
        super().__init__()
        parts = [(nn.Linear(8, 8), Dropout(0.5), nn.ReLU(), Dropout(0.5)) for _ in range(2)]
        self.layers = nn.ModuleList(nn.Sequential(*each) for each in parts)

    def forward(self, inputs: Tensor, mask: Tensor) -> sl.Memory:
        """Apply the layers to each position."""
        for layer in self.layers:
            inputs = layer(inputs)
        return sl.Memory(inputs, mask, inputs.mean(1))


class Mixed(sl.GRU):
    """A module with that encoder."""

    def __init__(self, spec: sl.SequenceSpec) -> None:
        super().__init__(spec, d_model=8)
        self.encoder = Mixer()  # type: ignore[assignment]


def main() -> None:
    """Run the modules named after the backend; `fit` stands for training with the Trainer."""
    backend, *names = sys.argv[1:]
    MODULES["blocks of torch"] = lambda: Mixed(SPEC)
    found: dict[str, Any] = {
        name: many_lengths(name, "aot_eager" if name == "blocks of torch" else backend)
        for name in names
        if name != "fit"
    }
    if "fit" in names:
        found |= fits()
    print(json.dumps(found))


def fits() -> dict[str, Any]:
    """Training compiled and uncompiled, resuming the compiled run, and `torch.compile(module)`."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as text, silence_lightning():
        folder = Path(text)
        (mine, path), (theirs, _) = (
            fitted(folder, compiled=compiled) for compiled in (True, False)
        )
        found["fit"] = difference(mine, theirs)
        ends = [fitted(folder, compiled=compiled, resumed=path)[0] for compiled in (True, False)]
        found["resumed"] = difference(*ends)
        whole, _ = made("FeedForward")
        try:
            L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False).fit(
                torch.compile(whole, backend="eager"), [batch_of(SPEC, 2, 3, 3)]
            )
        except TypeError as error:
            found["refused"] = str(error)
        found["uncompiled again"] = "training_step" not in vars(whole) or not hasattr(
            whole.training_step, "_torchdynamo_orig_callable"
        )
    return found


if __name__ == "__main__":
    main()
