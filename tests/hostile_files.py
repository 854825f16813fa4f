"""Loads files whose sizes do not fit their weights; `test_hostile_files.py` runs it.

    python tests/hostile_files.py FOLDER

Prints the slowest case and the one that needed most memory; then, as one line of JSON, for each
case the error, the processor time in seconds, and how far the peak memory rose, in MB.
"""

from __future__ import annotations

import json
import resource
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

import seqlearn as sl
from seqlearn.core.pretrained import _sha256, _sum_of
from seqlearn.introspect.recording.files import _FORMAT
from seqlearn.introspect.recording.io import write_tensors
from seqlearn.testing import TASKS
from seqlearn.testing.trainer_stub import silence_lightning, trainer

SPEC = TASKS["sequence-to-sequence"]
HUGE = 10**12
ARGUMENTS: dict[str, dict[str, Any]] = {
    "width": {"d_model": 10**7},
    "layers": {"num_layers": 10**5},
    "layers without end": {"num_layers": 10**13},
    "a size beyond 64 bits": {"d_model": 10**30},
    "feed-forward width": {"d_feedforward": HUGE},
}


class Own(sl.SequenceModule):
    """A module with an argument and a loop of its own."""

    def __init__(self, spec: sl.SequenceSpec, *, depth: int = 1) -> None:
        super().__init__(spec, d_model=4)
        body = sl.Transformer(spec, d_model=4, num_layers=1, num_heads=1)
        self.encoder, self.decoder = body.encoder, body.decoder
        self.more = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(depth))


MADE: dict[str, Callable[[], sl.SequenceModule]] = {
    "Transformer": lambda: sl.Transformer(SPEC, d_model=4, num_layers=1, num_heads=1),
    "LSTM": lambda: sl.LSTM(SPEC, d_model=4),
    "FeedForward": lambda: sl.FeedForward(SPEC, d_model=4),
    "Own": lambda: Own(SPEC),
}


def cases(folder: Path) -> dict[str, Callable[[], Any]]:
    """By name a function that loads a hostile file."""
    found: dict[str, Callable[[], Any]] = {}

    def add(name: str, module: sl.SequenceModule, change: Callable[[dict[str, Any]], Any]) -> None:
        where = folder / name.replace(" ", "-")
        with silence_lightning():
            module.trainer = trainer()
            module.trainer.strategy.connect(module)
            module.trainer.save_checkpoint(where.with_suffix(".ckpt"))
        content = torch.load(where.with_suffix(".ckpt"), weights_only=True)
        change(content["seqlearn"])
        torch.save(content, where.with_suffix(".ckpt"))
        module.save_pretrained(where)
        config = json.loads((where / "config.json").read_text(encoding="utf-8"))
        change(config)
        config["sha256 of this file"] = _sum_of(config)
        (where / "config.json").write_text(json.dumps(config), encoding="utf-8")
        load = type(module)
        found[f"{name}, checkpoint"] = lambda: load.load_from_checkpoint(where.with_suffix(".ckpt"))
        found[f"{name}, folder"] = lambda: load.from_pretrained(where)

    for name, change in ARGUMENTS.items():
        add(name, MADE["Transformer"](), lambda kept, c=change: kept["arguments"].update(c))
    for kind, size in (("LSTM", "num_layers"), ("FeedForward", "num_layers"), ("Own", "depth")):
        add(
            f"{kind} {size}", MADE[kind](), lambda kept, s=size: kept["arguments"].update({s: HUGE})
        )
    add("window", MADE["FeedForward"](), lambda kept: kept["arguments"].update(window=10**9))
    add(
        "vocabulary",
        MADE["Transformer"](),
        lambda kept: [kept["spec"][side].update(vocab_size=HUGE) for side in ("source", "target")],
    )
    for missing in ("class", "spec", "arguments"):
        add(f"no {missing}", MADE["LSTM"](), lambda kept, m=missing: kept.pop(m))
    add("no kind", MADE["LSTM"](), lambda kept: kept["spec"]["source"].pop("kind"))
    found |= tensors(folder)
    return found | recordings(folder)


def tensors(folder: Path) -> dict[str, Callable[[], Any]]:
    """Files whose tensors are others than those of the module."""
    model = MADE["LSTM"]()
    model.save_pretrained(folder / "few")
    weights = dict(list(model.state_dict().items())[:2])
    save_file(weights, folder / "few" / "model.safetensors")
    config = json.loads((folder / "few" / "config.json").read_text(encoding="utf-8"))
    config["sha256"] = _sha256(folder / "few" / "model.safetensors")
    config["sha256 of this file"] = _sum_of(config)
    (folder / "few" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found: dict[str, Callable[[], Any]] = {
        "few tensors, folder": lambda: sl.LSTM.from_pretrained(folder / "few")
    }
    whole = torch.load(folder / "no-kind.ckpt", weights_only=True)
    whole["seqlearn"]["spec"] = SPEC.to_dict()
    state = whole["state_dict"]
    first = next(iter(state))
    changes: dict[str, Any] = {
        "few tensors": dict(list(state.items())[:2]),
        "no state_dict": None,
        "a shape without data": state | {first: torch.zeros(1).expand(10**6, 10**6)},
        "a tensor without data": state | {first: torch.zeros(10**6, 10**6, device="meta")},
        "a number": state | {first: 3},
    }
    for name, changed in changes.items():
        path = folder / f"{name.replace(' ', '-')}.ckpt"
        torch.save(whole | {"state_dict": changed}, path)
        found[f"{name}, checkpoint"] = lambda path=path: sl.LSTM.load_from_checkpoint(path)
    return found


def recordings(folder: Path) -> dict[str, Callable[[], Any]]:
    """Recordings of the largest weights whose number of keys does not fit them."""
    found: dict[str, Callable[[], Any]] = {}
    plain: dict[str, Any] = {
        "attention": ["a"], "states": [], "gates": {}, "extra": {}, "tokens": [], "axes": {},
        "time_axis": {}, "extra_axes": {}, "stated": [],
    }  # fmt: skip
    pair = {"attention/a": torch.ones(1, 1, 2, 2) / 2, "indices/a": torch.tensor([[[[0, 1]] * 2]])}
    other = {
        "keys beyond all": (pair, HUGE),
        "keys below zero": (pair, -1),
        "keys as text": (pair, "9"),
        "fewer keys than weights": (pair, 1),
        "an index beyond the keys": (pair | {"indices/a": torch.full((1, 1, 2, 2), 9)}, 3),
        "indices of another shape": (pair | {"indices/a": torch.zeros(1, dtype=torch.long)}, 3),
    }
    for name, (stored, keys) in other.items():
        path = folder / f"{name.replace(' ', '-')}.safetensors"
        write_tensors(path, stored, _FORMAT, plain | {"keys": {"a": keys}})
        found[f"{name}, recording"] = lambda path=path: sl.Recording.load(path).attention["a"]
    return found


def main() -> None:
    """Load each case, and print what happened as one JSON object."""
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    warnings.simplefilter("ignore")
    loads = cases(folder)
    whole = folder / "whole"
    MADE["Own"]().save_pretrained(whole)
    Own.from_pretrained(whole)  # what the first load of a process imports
    limit = 2 * 1024**3 + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 * 8
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    found: dict[str, Any] = {}
    for name, load in loads.items():
        memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        try:
            load()
            said = ""
        except Exception as error:  # noqa: BLE001 -- the test looks at it
            said = f"{type(error).__name__}: {error}"
        risen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        found[name] = [said, time.process_time() - start, risen / 1024]
    slowest, largest = (max(found, key=lambda name, i=i: found[name][i]) for i in (1, 2))
    print(
        f"{len(found)} cases; slowest: {slowest}, {found[slowest][1]:.2f} s of processor time; "
        f"most memory: {largest}, {found[largest][2]:.1f} MB"
    )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
