"""Interrupt training runs with signals, resume them, and compare with the uninterrupted run.

    python tests/interruptions.py [--only NAME …] [--keep FOLDER] [--list]

Each case trains in processes of its own, sends a signal at a chosen point, checks the exit status,
the time and the files, resumes, and compares all weights with those of the uninterrupted run: to
the bit. Prints a line for each case, and ends with 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

import seqlearn as sl

SECONDS = 60
"""The longest time from the signal to the end of the last process."""

TEXTS = ["abc" * (1 + number % 3) + "de"[: number % 2] for number in range(40)]


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        signal: What is sent.
        point: Where the run is then: `"sanity"`, `"group"` (a micro-batch begins), `"validation"`
            or `"boundary"` (the last batch of an epoch begins).
        to: Ranks that receive it.
        devices: Processes.
        accumulate: Micro-batches of a step.
        model: `"transformer"`, or `"lm"`, a stateful language model.
        ema: Whether weights are averaged.
    """

    signal: str = "SIGTERM"
    point: str = "group"
    to: tuple[int, ...] = (0,)
    devices: int = 1
    accumulate: int = 1
    model: str = "transformer"
    ema: bool = False

    @property
    def name(self) -> str:
        ranks = "".join(map(str, self.to))
        parts = [self.signal, self.point, f"rank{ranks}of{self.devices}", f"k{self.accumulate}"]
        return "-".join([*parts, self.model, *["ema"] * self.ema])

    @property
    def reference(self) -> tuple[Any, ...]:
        """What decides on the uninterrupted run."""
        return self.devices, self.accumulate, self.model, self.ema


def cases() -> list[Case]:
    """All cases: 60 interruptions."""
    found = [
        Case(name, point, (0,), 1, accumulate, model)
        for name, point, accumulate, model in product(
            ("SIGTERM", "SIGUSR1", "SIGKILL"),
            ("group", "validation", "boundary"),
            (1, 3),
            ("transformer", "lm"),
        )
    ]
    found += [
        Case("SIGTERM", point, to, 2, accumulate)
        for point, to, accumulate in product(
            ("group", "validation", "boundary"), ((0,), (1,), (0, 1)), (1, 3)
        )
    ]
    found += [Case("SIGTERM", "sanity"), Case("SIGTERM", "sanity", (1,), 2)]
    found += [
        Case("SIGTERM", p, (0,), 1, k, ema=True) for p, k in product(("group", "boundary"), (1, 3))
    ]
    return found


def run_parts(folder: Path, case: Case, *extra: L.Callback) -> tuple[L.Trainer, Any, Any]:
    """The trainer, the module and the data of a case."""
    chars = sl.data.Text("char")
    data: Any
    if case.model == "lm":
        data = sl.data.PlainText(
            ["abcde" * 60, "deabc" * 50], ["abcde" * 10], None, chars, window=8, num_streams=4
        )
    else:
        rows = [{"source": text, "target": text[::-1]} for text in TEXTS]
        data = sl.data.TextPairs(
            rows, rows[:5], None, chars, chars, columns=("source", "target"), batch_tokens=32
        )
    torch.manual_seed(0)
    recipe = sl.Recipe(lr=1e-2, warmup_steps=3, schedule="cosine")
    kinds: dict[str, Any] = {"lm": sl.LSTM, "transformer": sl.Transformer}
    sizes = {} if case.model == "lm" else {"num_layers": 1, "num_heads": 2}
    model = kinds[case.model](data.spec, d_model=8, dropout=0.3, recipe=recipe, **sizes)
    averaging = [EMAWeightAveraging(decay=0.9)] if case.ema else []
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=case.devices,
        strategy="ddp" if case.devices > 1 else "auto",
        accumulate_grad_batches=case.accumulate,
        gradient_clip_val=1.0,
        callbacks=[
            *averaging,
            sl.callbacks.Interrupt(),
            ModelCheckpoint(folder, save_last=True, every_n_train_steps=2, save_top_k=-1),
            *extra,
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
        default_root_dir=folder,
    )
    return trainer, model, data


class SendSignal(L.Callback):
    """Sends the signal of a case to this process, once."""

    def __init__(self, case: Case, marker: Path) -> None:
        self.case, self.marker, self.sent = case, marker, False

    def send(self, trainer: L.Trainer, point: str, *, now: bool) -> None:
        """Send it if the run has come to the point of the case."""
        if self.sent or point != self.case.point or not now:
            return
        self.sent = True
        if trainer.global_rank in self.case.to:
            self.marker.write_text(str(time.time()), encoding="utf-8")
            os.kill(os.getpid(), getattr(signal, self.case.signal))

    def on_sanity_check_start(self, trainer: Any, *_: Any) -> None:
        self.send(trainer, "sanity", now=True)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        last = batch_idx == trainer.num_training_batches - 1
        self.send(trainer, "group", now=trainer.current_epoch == 1 and batch_idx == 4)
        self.send(trainer, "boundary", now=trainer.current_epoch == 1 and last)

    def on_validation_start(self, trainer: Any, *_: Any) -> None:
        at = not trainer.sanity_checking and trainer.current_epoch == 1
        self.send(trainer, "validation", now=at)


def train(folder: Path, case: Case, start: str | None, *, interrupt: bool) -> None:
    """Train in this process, and save the weights at the end."""
    warnings.filterwarnings("ignore")
    sender = [SendSignal(case, folder / "sent")] if interrupt else []
    trainer, model, data = run_parts(folder, case, *sender)
    trainer.fit(model, data, ckpt_path=start)
    if trainer.is_global_zero:
        torch.save(model.state_dict(), folder / "weights.pt")


def start_process(folder: Path, case: Case, *, resume: str = "", interrupt: bool = False) -> Any:
    """Run `train` in a process of its own, with its ranks; returns what ended."""
    folder.mkdir(parents=True, exist_ok=True)
    words = json.dumps(
        {"folder": str(folder), "case": asdict(case), "resume": resume, "interrupt": interrupt}
    )
    return subprocess.run(
        [sys.executable, __file__, "--train", words],
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def reference(root: Path, case: Case) -> dict[str, torch.Tensor]:
    """The weights of the uninterrupted run."""
    folder = root / "-".join(map(str, case.reference))
    if not (folder / "weights.pt").exists():
        done = start_process(folder, case)
        if done.returncode:
            raise RuntimeError(f"{case.name}: the uninterrupted run failed\n{done.stderr[-2000:]}")
    weights: dict[str, torch.Tensor] = torch.load(folder / "weights.pt")
    return weights


def faults(root: Path, case: Case) -> Iterator[str]:
    """Run a case; yields what is wrong."""
    weights = reference(root, case)
    folder = root / case.name
    done = start_process(folder, case, interrupt=True)
    ended = time.time()
    killed = case.signal == "SIGKILL"
    expected = -signal.SIGKILL if killed else 143
    if done.returncode != expected:
        yield f"expected exit status {expected}, got {done.returncode}: {done.stderr[-800:]}"
    if not (folder / "sent").exists():
        yield "the signal was never sent"
        return
    seconds = ended - float((folder / "sent").read_text(encoding="utf-8"))
    if seconds > SECONDS:
        yield f"took {seconds:.0f} s to end"
    if left := [path.name for path in folder.rglob("*") if path.suffix in (".part", ".tmp")]:
        yield f"left {left}"
    newest = max(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime, default=None)
    if newest is None:
        yield "no checkpoint"
        return
    if not killed and newest.name != "interrupt.ckpt":
        yield f"expected interrupt.ckpt as the newest, got {newest.name}"
    resumed = root / f"{case.name}-resumed"
    done = start_process(resumed, case, resume=str(newest))
    if done.returncode:
        yield f"the resumed run ended with {done.returncode}: {done.stderr[-800:]}"
        return
    found = torch.load(resumed / "weights.pt")
    for name, weight in weights.items():
        if not torch.equal(weight, found[name]):
            yield f"{name} differs by {(weight - found[name]).abs().max():.1e}"
            return


def main(argv: Sequence[str]) -> int:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="parts of names")
    parser.add_argument("--keep", type=Path, help="a folder for the runs")
    parser.add_argument("--list", action="store_true", help="print the names of all cases")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.train:
        words = json.loads(options.train)
        case = Case(**(words["case"] | {"to": tuple(words["case"]["to"])}))
        folder = Path(words["folder"])
        train(folder, case, words["resume"] or None, interrupt=words["interrupt"])
        return 0
    chosen = [c for c in cases() if all(word in c.name for word in options.only)]
    if options.list:
        print("\n".join(case.name for case in chosen))
        return 0
    wrong = 0
    with tempfile.TemporaryDirectory() as made:
        for case in chosen:
            start = time.monotonic()
            found = list(faults(options.keep or Path(made), case))
            wrong += bool(found)
            seconds = time.monotonic() - start
            print(f"{'FAILED' if found else 'passed'} {seconds:4.0f} s  {case.name}", flush=True)
            for fault in found:
                print(f"    {fault}", flush=True)
    print(f"{len(chosen) - wrong} of {len(chosen)} cases passed")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
