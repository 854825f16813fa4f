"""Run a checkpoint on inputs, on one device or in one process for each of several devices.

Inputs are answered in chunks. A chunk is processed as a whole by one process, with random numbers
that depend on its number alone, so the answers do not depend on the number of devices.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Literal

import torch

from seqlearn.cli.answers import Answered, Chunk, Request, answer
from seqlearn.cli.loading import load_module
from seqlearn.core import SequenceModule
from seqlearn.core.inference_precision import InferencePrecision

AHEAD = 2
"""Number of chunks for each device that are read before their turn to be written."""


def devices_of(
    accelerator: Literal["auto", "cpu", "gpu"], count: int, device: str | None = None
) -> list[torch.device]:
    """The devices of the options `--accelerator` and `--devices`; on the CPU, one per process.

    Args:
        accelerator: The kind of device.
        count: How many.
        device: The name of one device (`--device`), instead of the other two.

    Raises:
        ValueError: If there are fewer, or no device has this name.

    Examples:
        >>> devices_of("cpu", 2)
        [device(type='cpu'), device(type='cpu')]
    """
    if count < 1:
        raise ValueError(f"--devices: expected at least 1, got {count}")
    found = torch.accelerator.current_accelerator(check_available=True)
    if device is not None:
        if count > 1 or accelerator != "auto":
            raise ValueError("--device names one device; leave --accelerator and --devices out")
        return [_named_device(device, found)]
    if accelerator == "cpu" or (accelerator == "auto" and found is None):
        return [torch.device("cpu")] * count
    if found is None:
        raise ValueError("--accelerator gpu: PyTorch finds no GPU; use --accelerator cpu")
    if count > (available := torch.accelerator.device_count()):
        raise ValueError(f"--devices: expected at most {available} ({found.type}), got {count}")
    return [torch.device(found.type, index) for index in range(count)]


def _named_device(name: str, found: torch.device | None) -> torch.device:
    """The device of a name such as `cuda:1`."""
    available = ["cpu"]
    if found is not None:
        available += [f"{found.type}:{index}" for index in range(torch.accelerator.device_count())]
    wanted = f"{name}:0" if found is not None and name == found.type else name
    if wanted not in available:
        raise ValueError(f"--device: expected one of {', '.join(available)}, got {name!r}")
    return torch.device(wanted)


def answer_in_order(
    request: Request,
    module: SequenceModule,
    chunks: Iterable[Chunk],
    devices: list[torch.device],
) -> Generator[list[str], None, None]:
    """Answer chunks on one device in this process, or on several in a process for each.

    Args:
        request: What to run.
        module: The loaded checkpoint, which one device uses.
        chunks: The chunks; they are read as needed.
        devices: The devices.

    Yields:
        The lines of each chunk, in order.

    Raises:
        RuntimeError: If a process ends before its chunk is done, after the lines of all chunks
            before it.
        Exception: The first error, of an input or of the iterable of chunks, after the lines of all
            inputs before it. All processes have ended then.
    """
    if len(devices) == 1:
        module.to(devices[0])
        for chunk in chunks:
            yield from _until_wrong(answer(module, chunk, request))
    else:
        yield from _answer_in_processes(request, chunks, devices)


def _answer_in_processes(
    request: Request, chunks: Iterable[Chunk], devices: list[torch.device]
) -> Iterator[list[str]]:
    """Answer chunks in a process for each device, in turn; see `answer_in_order`."""
    context = multiprocessing.get_context("spawn")  # CUDA does not support fork
    others = multiprocessing.active_children()
    pools = [ProcessPoolExecutor(1, context) for _ in devices]
    threads = max(1, torch.get_num_threads() // len(devices))
    pending: deque[tuple[Chunk, torch.device, Future[Answered]]] = deque()
    errors: list[Exception] = []
    try:
        for chunk in _until_error(chunks, errors):
            turn = chunk.number % len(devices)
            task = pools[turn].submit(_answer_in_worker, request, devices[turn], threads, chunk)
            pending.append((chunk, devices[turn], task))
            if len(pending) >= AHEAD * len(devices):
                yield from _until_wrong(_result(*pending.popleft()))
        while pending:
            yield from _until_wrong(_result(*pending.popleft()))
        if errors:
            raise errors[0]
    except BaseException:
        for child in multiprocessing.active_children():
            if child not in others:
                child.terminate()
        raise
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)


def _until_error(chunks: Iterable[Chunk], errors: list[Exception]) -> Iterator[Chunk]:
    """The chunks before one that cannot be read; its error is kept for its turn."""
    try:
        yield from chunks
    except Exception as error:  # noqa: BLE001 -- raised in its turn
        errors.append(error)


def _until_wrong(answered: Answered) -> Iterator[list[str]]:
    """The lines of a chunk; then its error, if there is one, is raised."""
    yield answered.lines
    if answered.error is not None:
        raise answered.error


def _result(chunk: Chunk, device: torch.device, task: Future[Answered]) -> Answered:
    try:
        return task.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            f"the process on {device} was killed while it processed the inputs from "
            f"{chunk.items[0].place} to {chunk.items[-1].place}; if memory was short, use fewer "
            "--devices or --batch-tokens"
        ) from error


def _answer_in_worker(
    request: Request, device: torch.device, threads: int, chunk: Chunk
) -> Answered:
    loaded = _loaded(request.checkpoint, request.model, request.precision, device, threads)
    return answer(loaded, chunk, request)


@functools.cache
def _loaded(
    checkpoint: str,
    model: str | None,
    precision: InferencePrecision | None,
    device: torch.device,
    threads: int,
) -> SequenceModule:
    """The module of a worker, loaded with its first chunk."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C also reaches the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    module = load_module(checkpoint, model).to(device)
    return module if precision is None else module.for_inference(precision)


def _end_with_parent() -> None:
    """End this process when the command has ended, also if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
