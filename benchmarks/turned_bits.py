"""One flipped bit in a saved file, many times: is it detected, or are other values loaded silently?

    python -m benchmarks turned_bits [--times 1500] [--out FILE]

For checkpoints, `save_pretrained` folders and recordings, and for a checkpoint read by `torch.load`
alone. Writes a table.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch

import seqlearn as sl
from benchmarks.fitting import Table
from seqlearn.introspect import Recording
from seqlearn.testing import TASKS


class Kind(NamedTuple):
    """A file, and what is read of it."""

    path: Path
    load: Callable[[], Any]
    """Gives what must be the same again, as plain numbers and words."""


def content(module: sl.SequenceModule) -> tuple[Any, ...]:
    """All that makes a module what it is."""
    weights = {name: tensor.tolist() for name, tensor in module.state_dict().items()}
    return dict(module.hparams), module.spec, weights


def kinds(folder: Path) -> dict[str, Kind]:
    """Write one file of each kind."""
    torch.manual_seed(0)
    module = sl.GRU(TASKS["sequence-to-sequence"], d_model=6)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    module.trainer = trainer
    checkpoint, heard = folder / "module.ckpt", folder / "heard.safetensors"
    trainer.save_checkpoint(checkpoint)
    module.save_pretrained(folder)
    with sl.record(module) as recording:
        module.generate([[4, 5, 6]], max_new_tokens=4)
    recording.save(heard)

    def by_torch() -> tuple[Any, ...]:
        read = torch.load(checkpoint, weights_only=True)
        again = sl.GRU(TASKS["sequence-to-sequence"], d_model=6)
        again.load_state_dict(read["state_dict"])
        return content(again)

    def by_recording() -> tuple[Any, ...]:
        read = Recording.load(heard)
        gates = {
            name: {g: t.tolist() for g, t in gate.items()} for name, gate in read.gates.items()
        }
        return read.tokens, {name: t.tolist() for name, t in read.states.items()}, gates

    def pretrained() -> tuple[Any, ...]:
        return content(sl.GRU.from_pretrained(folder))

    return {
        "checkpoint, `torch.load(weights_only=True)`": Kind(checkpoint, by_torch),
        "checkpoint, `load_from_checkpoint`": Kind(
            checkpoint, lambda: content(sl.GRU.load_from_checkpoint(checkpoint))
        ),
        "`model.safetensors`, `from_pretrained`": Kind(folder / "model.safetensors", pretrained),
        "`config.json`, `from_pretrained`": Kind(folder / "config.json", pretrained),
        "recording, `Recording.load`": Kind(heard, by_recording),
    }


def counts(kind: Kind, times: int) -> list[int]:
    """Counts of: error that names the file, unchanged, other values, other error."""
    whole, expected = kind.path.read_bytes(), kind.load()
    numbers = np.random.default_rng(0)
    found = [0, 0, 0, 0]
    for _ in range(times):
        place, bit = int(numbers.integers(len(whole))), int(numbers.integers(8))
        turned = bytes([whole[place] ^ (1 << bit)])
        kind.path.write_bytes(whole[:place] + turned + whole[place + 1 :])
        try:
            found[1 if kind.load() == expected else 2] += 1
        except ValueError as error:
            found[0 if kind.path.name in str(error) else 3] += 1
        except Exception:  # noqa: BLE001 -- whatever a reader does with what it does not expect
            found[3] += 1
    kind.path.write_bytes(whole)
    return found


def main() -> None:
    """Turn bits, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/turned-bits.md"))
    parser.add_argument("--times", type=int, default=1500)
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    heads = ["file and reader", "error that names the file", "loaded unchanged"]
    heads += ["**loaded with other values**", "other error"]
    table = Table(args.out, heads)
    with TemporaryDirectory() as folder:
        for name, kind in kinds(Path(folder)).items():
            table.add([name, *counts(kind, args.times)])
