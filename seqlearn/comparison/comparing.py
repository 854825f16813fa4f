"""`compare`: trains several models on one data module and reports what was measured."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import inspect
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
import torch
from filelock import FileLock, Timeout

from seqlearn.comparison.candidates import Candidate, make_candidates
from seqlearn.comparison.evaluation import reason_of
from seqlearn.comparison.examples import evaluated_split
from seqlearn.comparison.folder import (
    describe_data,
    describe_run,
    describe_trainer,
    identify_trainer,
    open_folder,
    prepare_run,
    run_folder,
)
from seqlearn.comparison.job import Job, read_json
from seqlearn.comparison.machine import describe_machine
from seqlearn.comparison.processes import Task, run_tasks
from seqlearn.comparison.progress import Progress
from seqlearn.comparison.results import Comparison, headline
from seqlearn.comparison.sizes import Size, given_size, match_size
from seqlearn.comparison.timing import Timing, timed_lengths
from seqlearn.comparison.training import FIXED, with_defaults
from seqlearn.data import SequenceDataModule
from seqlearn.plain_data import check_whole_number
from seqlearn.spec import SequenceSpec

TIMING = "time per token"
"""The name of the task that times all models."""


class _Sized(NamedTuple):
    """A model with its size, or the reason why it cannot be built."""

    candidate: Candidate
    size: Size | None
    reason: str = ""


def compare(
    data: SequenceDataModule,
    models: Any = None,
    *,
    parameters: int | Literal["first", "given"] = "first",
    budget: float | None = None,
    seeds: Iterable[int] = (0,),
    jobs: int = 1,
    threads: int | None = None,
    directory: str | os.PathLike[str] = "runs/compare",
    trainer: Mapping[str, Any] | None = None,
) -> Comparison:
    """Train models on the same data, at equal size and for an equal time, and compare them.

    Each run (one model, one seed) is a process of its own: if it fails, its row in the report says
    why, and the others continue. After Ctrl-C or a kill the same call continues: complete runs are
    not repeated, and the others resume from their last checkpoint. Failed runs are tried again.

    A process imports the script that called `compare`, so a script calls it inside
    `if __name__ == "__main__":`. Classes of a notebook cannot be imported; put them into a file.

    Args:
        data: The data. Quality is measured on its test split, or on its validation split if there
            is none.
        models: A list of names (`"LSTM"`, `"package.module.Class"`), classes, pairs of one of these
            and its arguments (`("LSTM", {"num_layers": 2})`), or mappings with `class_path` and
            `init_args`; or a mapping of labels to them. By default all architectures of the
            package.
        parameters: The number of trained parameters that each model shall have. Their width
            `d_model` is chosen for it. `"first"` is the number of the first model; `"given"`
            leaves all sizes as they are.
        budget: Training time of each run in minutes: CPU time on the CPU, otherwise elapsed time.
            The number of steps is planned from the measured time of a step. `None` is no limit;
            then `max_epochs` in `trainer` (10 by default) ends the run.
        seeds: The seeds of the weights and of the random numbers of training. The data and the
            order of its batches are the same for all runs.
        jobs: The number of runs at a time.
        threads: Threads of PyTorch of each run; by default those of this process divided by `jobs`.
        directory: The folder of the runs and the report: `report.html`, `report.md`, `report.json`.
        trainer: Arguments of the Lightning `Trainer`, such as `max_epochs`, `accelerator` and
            `callbacks`. Gradients are clipped to a norm of 1 unless `gradient_clip_val` is given.
            With a `ModelCheckpoint` that monitors a metric the best weights are evaluated,
            otherwise the last.

    Returns:
        The results. The report is written to `directory` too.

    Raises:
        ValueError: If an argument is out of range, the data has neither a test nor a validation
            split, or a run is already in progress in the folder.
        TypeError: If a model is not one, or the data or a model cannot be sent to a process.
        FileExistsError: If the folder has other files, or results of runs with other settings.
        RuntimeError: If a script calls it outside `if __name__ == "__main__":`.

    Examples:
        >>> comparison = sl.compare(  # doctest: +SKIP
        ...     data, ["LSTM", "Transformer"], parameters=100_000, seeds=[0, 1], budget=10
        ... )
        >>> print(comparison)  # doctest: +SKIP
        >>> comparison.to_html("comparison.html")  # doctest: +SKIP
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(
            "a run imports the script that called compare, and the script calls it again; put the "
            "call inside `if __name__ == '__main__':`"
        )
    if not isinstance(data, SequenceDataModule):
        raise TypeError(f"data: expected a data module such as sl.data.Dates(), got {data!r}")
    if not isinstance(seeds, Iterable):
        raise TypeError(f"seeds: expected a list of whole numbers, got {seeds!r}; pass [{seeds}]")
    seeds = [check_whole_number(seed, "seeds", 0) for seed in seeds]
    jobs = check_whole_number(jobs, "jobs", 1)
    options = _check(parameters, budget, seeds, trainer)
    threads = max(1, torch.get_num_threads() // jobs) if threads is None else threads
    threads = check_whole_number(threads, "threads", 1)
    candidates = make_candidates(models)
    folder = Path(directory)
    open_folder(folder)
    try:
        with FileLock(folder / ".lock", timeout=0):
            split = evaluated_split(data)
            sized = _sizes(candidates, data.spec, parameters)
            generated = data.spec.source is not None and data.spec.target.needs_decoder
            about = {"text": repr(data), "split": split, "generated": generated}
            made = {
                "data": about | describe_data(data),
                "settings": {
                    "parameters": parameters,
                    "budget": budget,
                    "seeds": seeds,
                    "jobs": jobs,
                    "threads": threads,
                    "trainer": describe_trainer(with_defaults(options)),
                },
            }
            return _run(data, sized, made, folder, options)
    except Timeout as error:
        raise ValueError(
            f"another process compares in {folder}; wait for it, or change directory (--directory)"
        ) from error


def _check(parameters: Any, budget: float | None, seeds: list[int], trainer: Any) -> dict[str, Any]:
    """Check arguments; returns those of the Trainer."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: expected different whole numbers, at least one, got {seeds}")
    if isinstance(parameters, str):
        if parameters not in ("first", "given"):
            raise ValueError(
                f"parameters: expected 'first', 'given' or a number, got {parameters!r}"
            )
    else:
        check_whole_number(parameters, "parameters", 1)
    if budget is not None and not 0 < budget < float("inf"):
        raise ValueError(f"budget: expected minutes above 0, got {budget}")
    options = dict(trainer or {})
    if wrong := sorted(FIXED & options.keys()):
        raise ValueError(
            "trainer: each run uses one device and a folder of its own; leave out "
            f"{', '.join(wrong)}"
        )
    known = inspect.signature(L.Trainer).parameters
    if unknown := sorted(options.keys() - known):
        near = difflib.get_close_matches(unknown[0], known, 1)
        advice = f"did you mean {near[0]!r}?" if near else "see lightning.Trainer"
        raise TypeError(f"trainer: Trainer has no argument {unknown[0]!r}; {advice}")
    limits = {"max_epochs", "max_steps", "max_time"} & options.keys()
    if budget is not None and limits:
        raise ValueError(
            f"expected either a budget or {', '.join(sorted(limits))} of the Trainer, got both"
        )
    return options


def _sizes(candidates: list[Candidate], spec: SequenceSpec, parameters: int | str) -> list[_Sized]:
    """The models at equal size; one that cannot be built keeps the reason."""
    wanted = parameters if isinstance(parameters, int) else None
    found = []
    for candidate in candidates:
        try:
            if parameters == "given" or (wanted is None and parameters == "first"):
                size = given_size(candidate, spec)
                wanted = size.parameters if parameters == "first" else None
            else:
                assert wanted is not None
                size = match_size(candidate, spec, wanted)
        except Exception as error:  # noqa: BLE001 -- a row of the report
            found.append(_Sized(candidate, None, reason_of(error)))
        else:
            sized = dataclasses.replace(candidate, options=size.options)
            found.append(_Sized(sized, size))
    return found


def _run(
    data: SequenceDataModule,
    sized: list[_Sized],
    made: dict[str, Any],
    folder: Path,
    trainer: dict[str, Any],
) -> Comparison:
    """Run what is not complete, and write the report."""
    settings = made["settings"]
    jobs: list[Job] = []
    waiting: list[Task] = []
    described_data, described = describe_data(data), identify_trainer(with_defaults(trainer))
    for each in sized:
        if each.size is None:
            continue
        for seed in settings["seeds"]:
            candidate = each.candidate
            job = Job(
                candidate.label,
                candidate.cls,
                candidate.options,
                seed,
                data,
                run_folder(folder, candidate.label, seed).absolute(),
                trainer,
                settings["budget"],
                settings["threads"],
                detailed=seed == settings["seeds"][0],
            )
            identity = describe_run(candidate, described_data, seed, described, settings["budget"])
            jobs.append(job)
            if not prepare_run(job.folder, identity):
                waiting.append(_task(_name(job), job, job.folder, partial(headline, job)))
    progress = Progress(len(jobs) + 1, len(jobs) - len(waiting), settings["jobs"])
    try:
        failures = run_tasks(waiting, settings["jobs"], progress)
        times = _time(data.spec, jobs, folder, progress)
    except KeyboardInterrupt:
        progress.close()
        print(f"stopped; the same call continues in {folder}", file=sys.stderr)
        raise
    finally:
        progress.close()
    models = [_model(each, jobs, failures) for each in sized]
    content = made | {"machine": describe_machine(), "models": models, "times": times}
    comparison = Comparison(content, folder)
    comparison.write()
    return comparison


def _model(sized: _Sized, jobs: list[Job], failures: dict[str, str]) -> dict[str, Any]:
    """A model with the results of its runs."""
    found = sized.candidate.describe()
    if sized.size is None:
        return found | {"failed": sized.reason, "runs": []}
    runs = []
    for job in jobs:
        if job.label == sized.candidate.label:
            failed = {"seed": job.seed, "failed": failures.get(_name(job), "")}
            result = failed if _name(job) in failures else read_json(job.result)
            folder = {"folder": str(Path("runs") / job.folder.name)}
            runs.append((result or failed) | folder)
    size = {"parameters": sized.size.parameters, "note": sized.size.note}
    return found | size | {"runs": runs}


def _time(spec: SequenceSpec, jobs: list[Job], folder: Path, progress: Progress) -> dict[str, Any]:
    """The times of all models that are trained, measured in one process, in turn."""
    trained = [job for job in jobs if job.detailed and job.result.exists()]
    lengths = timed_lengths(spec)
    if not trained or not lengths:
        return {"error": "no model was trained" if lengths else "examples have no length"}
    device = str(read_json(trained[0].result)["training"]["device"])
    models = tuple((job.label, job.cls, str(job.trained)) for job in trained)
    runs = [(job.label, read_json(job.folder / "run.json")) for job in trained]
    written = [job.trained.stat().st_mtime_ns for job in trained]
    identity = repr((runs, written, lengths, trained[0].threads, device))
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    result = folder.absolute() / f"times-{digest}.json"
    if not result.exists():
        timing = Timing(models, lengths, trained[0].threads, device, result)
        task = _task(TIMING, timing, folder / "timing", lambda: "measured")
        failures = run_tasks([task], 1, progress)
        if failures:
            return {"error": failures[TIMING]}
    return dict(read_json(result))


def _task(name: str, work: Job | Timing, folder: Path, said: Callable[[], str]) -> Task:
    """A task for a process.

    Raises:
        TypeError: If the data or the model cannot be sent to a process.
    """
    classes = [work.cls, type(work.data)] if isinstance(work, Job) else []
    for cls in classes:
        if cls.__module__ == "__main__" and not hasattr(sys.modules["__main__"], "__file__"):
            raise TypeError(
                f"{cls.__name__} is defined in a notebook or an interactive session, which the "
                "process of a run cannot import; write it to a file and import it from there"
            )
    try:
        payload = pickle.dumps(work)
    except Exception as error:
        raise TypeError(
            f"{name} cannot be sent to a process of its own ({reason_of(error)}); define its "
            "classes at the top of a module, and pass plain arguments"
        ) from error
    return Task(name, payload, folder, said)


def _name(job: Job) -> str:
    return f"{job.label}, seed {job.seed}"
