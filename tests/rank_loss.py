"""Let a rank die or stall in a run of two processes; measure the time until all have ended.

    python tests/rank_loss.py [--only WORD …] [--timeout SECONDS] [--table FILE]

Each case trains under Lightning's own launcher or under torchrun. One rank is killed, raises an
error, leaves the process, is stopped (SIGSTOP), or loops for ever while it loads a batch. All
processes must end with a message that names the rank and the last checkpoint. Prints a line for
each case, and ends with 1 if one fails.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

FAULTS = ("killed", "error", "exit", "stopped", "loop")
LAUNCHERS = ("lightning", "torchrun")
MESSAGE = re.compile(r"seqlearn: rank (\d) (.*)\. The run ends; last checkpoint: (.*\.ckpt)")
END_SECONDS = 20
"""Within this time all must end."""

STOPPED_SECONDS = 60
"""The same for a stopped rank: 10 s until rank 0 is suspected, 30 s until torchrun kills it."""


@dataclass(frozen=True)
class Case:
    """One run, and what happens to one of its ranks."""

    launcher: str
    fault: str
    rank: int = 1

    @property
    def name(self) -> str:
        return f"{self.launcher}-{self.fault}-rank{self.rank}"

    @property
    def stalls(self) -> bool:
        """Whether the end waits for the timeout."""
        return self.fault in ("stopped", "loop")


@dataclass
class Result:
    """What came of a case."""

    case: Case
    seconds: float
    status: int
    message: str
    faults: list[str]


def cases() -> list[Case]:
    """All cases."""
    return [
        Case(launcher, fault, rank) for launcher, fault, rank in product(LAUNCHERS, FAULTS, (1, 0))
    ]


def train(folder: Path, fault: str, rank: int, timeout: float) -> None:
    """Train in this process, which is one of the ranks."""
    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint

    import seqlearn as sl

    warnings.filterwarnings("ignore")

    class Pairs(sl.data.TextPairs):
        """Where the fault happens: a batch is loaded."""

        def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
            trainer: Any = self.trainer
            if trainer.global_step == 3 and trainer.global_rank == rank:
                (folder / "fault").write_text(str(time.time()), encoding="utf-8")
                happen(fault)
            return batch

    chars = sl.data.Text("char")
    rows = [{"source": "abcde"[: 1 + i % 5], "target": "edcba"[: 1 + i % 5]} for i in range(64)]
    data = Pairs(rows, rows[:4], None, chars, chars, columns=("source", "target"), batch_tokens=16)
    model = sl.GRU(data.spec, d_model=8, recipe=sl.Recipe(warmup_steps=1))
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        callbacks=[
            sl.callbacks.Interrupt(stall_timeout=timeout),
            ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    (folder / f"pid{trainer.global_rank}").write_text(str(os.getpid()), encoding="utf-8")
    trainer.fit(model, data)


def happen(fault: str) -> None:
    """Do what the name says."""
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "error":
        raise KeyError("an example without a target")
    elif fault == "exit":
        os._exit(7)
    elif fault == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        time.sleep(0.001)


def run(case: Case, folder: Path, timeout: float) -> Result:
    """Run a case."""
    folder.mkdir(parents=True)
    words = ["--train", str(folder), case.fault, str(case.rank), str(timeout)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *(launcher if case.launcher == "torchrun" else []), __file__, *words]
    with (folder / "log").open("w", encoding="utf-8") as log:
        started = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        try:
            while not (folder / "fault").exists() and started.poll() is None:
                time.sleep(0.1)
            status = started.wait(timeout=timeout + 300)
            while any(alive(folder / f"pid{rank}") for rank in range(2)):
                time.sleep(0.1)
        finally:
            if started.poll() is None:
                os.killpg(started.pid, signal.SIGKILL)
    ended = time.time()
    log_text = (folder / "log").read_text(encoding="utf-8")
    if not (folder / "fault").exists():
        return Result(case, 0, status, "", [f"the run ended before the fault: {log_text[-2000:]}"])
    seconds = ended - float((folder / "fault").read_text(encoding="utf-8"))
    found = MESSAGE.search(log_text)
    return Result(
        case,
        seconds,
        status,
        "" if found is None else found[0],
        list(wrong(case, seconds, status, found, log_text, timeout)),
    )


def wrong(
    case: Case, seconds: float, status: int, found: Any, log: str, timeout: float
) -> Iterator[str]:
    """What is wrong with the end of a run."""
    if found is None:
        yield f"no message: {log[-3000:]}"
    elif int(found[1]) != case.rank:
        yield f"expected rank {case.rank}, got {found[0]}"
    elif not Path(found[3]).exists():
        yield f"the last checkpoint does not exist: {found[3]}"
    if status == 0:
        yield "expected an exit status other than 0"
    allowed = STOPPED_SECONDS if case.fault == "stopped" else END_SECONDS
    if seconds > allowed + timeout * case.stalls:
        yield f"took {seconds:.0f} s"


def alive(file: Path) -> bool:
    """Whether the process whose number a file holds is still there."""
    try:
        os.kill(int(file.read_text(encoding="utf-8")), 0)
    except OSError:
        return False
    return True


def main(argv: Sequence[str]) -> int:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="words of names")
    parser.add_argument("--timeout", type=float, default=20, help="of a stall, in seconds")
    parser.add_argument("--table", type=Path, help="a Markdown file for the results")
    parser.add_argument("--train", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.train:
        folder, fault, rank, timeout = options.train
        train(Path(folder), fault, int(rank), float(timeout))
        return 0
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            if not all(word in case.name for word in options.only):
                continue
            results.append(result := run(case, Path(folder, case.name), options.timeout))
            print(
                f"{'FAILED' if result.faults else 'passed'} {case.name}: {result.seconds:.1f} s, "
                f"status {result.status}: {result.message}",
                flush=True,
            )
            for fault in result.faults:
                print(f"    {fault}", flush=True)
    if options.table:
        rows = [
            f"| {one.case.launcher} | {one.case.fault} | {one.case.rank} | {one.seconds:.1f} | "
            f"{one.status} | {one.message.replace(str(Path(folder)), '…')} |\n"
            for one in results
        ]
        head = "| launcher | fault | rank | seconds to the end | exit status | message |\n"
        options.table.write_text(
            head + "|---|---|---|---|---|---|\n" + "".join(rows), encoding="utf-8"
        )
    return int(any(one.faults for one in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
