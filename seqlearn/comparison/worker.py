"""One run in a process of its own: trains, evaluates and writes its result."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import nn

from seqlearn.comparison.evaluation import evaluate, gradient, measured, reason_of
from seqlearn.comparison.examples import evaluated_split
from seqlearn.comparison.job import Job, Report, read_json, write_json
from seqlearn.comparison.sizes import count_parameters
from seqlearn.comparison.timing import Timing, measure_times
from seqlearn.comparison.training import build_model, make_trainer, train
from seqlearn.core import SequenceModule
from seqlearn.nn import LuongAttention, MultiHeadAttention, RecurrentDecoder, RecurrentEncoder

FAILED = 3
"""Exit status of a process whose run failed with an exception."""

_GRACE_SECONDS = 60.0


def run(job: Job, report: Report) -> dict[str, Any]:
    """Train and evaluate one model, or continue it; the result is written to `job.result`.

    Args:
        job: The run.
        report: Called with the progress.

    Returns:
        The result as plain data.
    """
    if (done := read_json(job.result)) is not None:
        return dict(done)
    torch.set_num_threads(job.threads)
    split = evaluated_split(job.data)
    model = build_model(job)
    result: dict[str, Any] = {
        "label": job.label,
        "seed": job.seed,
        "parameters": count_parameters(model),
        "all_parameters": sum(p.numel() for p in model.parameters()),
        "roles": roles(model),
        "threads": job.threads,
        "split": split,
        "gradient_before": measured(lambda: gradient(model, job.data, split)),
    }
    result["training"] = trained = train(job, report)
    report({"stage": "measuring"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint = job.folder / trained["checkpoint"]
        module = job.cls.load_from_checkpoint(checkpoint, map_location="cpu")
    loader = job.data.test_dataloader() if split == "test" else job.data.val_dataloader()
    trainer = make_trainer(job, logger=False, callbacks=[], enable_checkpointing=False)
    (figures,) = trainer.test(module, loader, verbose=False)
    result["figures"] = {name.removeprefix("test/"): value for name, value in figures.items()}
    device = torch.device("cpu") if trained["device"] == "cpu" else trainer.strategy.root_device
    result |= evaluate(module.to(device).eval(), job, split)
    write_json(job.result, result)
    return dict(read_json(job.result))


def roles(model: SequenceModule) -> dict[str, bool]:
    """Whether a model has recurrent layers, and whether it has attention."""
    recurrent = (RecurrentEncoder, RecurrentDecoder, nn.RNNBase, nn.RNNCellBase)
    attention = (MultiHeadAttention, LuongAttention, nn.MultiheadAttention)
    parts = list(model.modules())
    return {
        "recurrent": any(isinstance(part, recurrent) for part in parts),
        "attention": any(isinstance(part, attention) for part in parts),
    }


def work(payload: bytes, connection: Connection, log: Path) -> None:
    """The main function of a process: perform what a payload contains, and report over a pipe.

    The output of the process goes to a file. SIGTERM stops training after a step, with a
    checkpoint; Ctrl-C is the parent's business. The process also stops when its parent has ended.

    Args:
        payload: A pickled `Job` or `Timing`.
        connection: Takes dictionaries: progress, `{"failed": reason}` at an error.
        log: The file for standard output and standard error.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning.pytorch")

    def report(progress: dict[str, Any]) -> None:
        try:
            connection.send(progress)
        except OSError:  # the parent has ended
            return

    try:
        task: Job | Timing = pickle.loads(payload)  # noqa: S301 -- of the parent
        if isinstance(task, Timing):
            measure_times(task, report)
        else:
            # A process of a killed comparison may still save its checkpoint.
            with FileLock(task.folder / ".lock", timeout=2 * _GRACE_SECONDS):
                run(task, report)
    except Exception as error:  # noqa: BLE001 -- reported as the reason of a failed run
        traceback.print_exc()
        report({"failed": reason_of(error)})
        sys.stderr.flush()
        sys.exit(FAILED)


def _end_with_parent() -> None:
    """Stop as after SIGTERM when the parent has ended, at the latest after a minute."""
    parent = parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_SECONDS)
    os._exit(1)
