"""The sections of a report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from seqlearn.comparison.blocks import Block, Cell, Chart, Row, Section, Series, Table, Text, Viewer
from seqlearn.comparison.claims import claims
from seqlearn.comparison.figures import (
    Content,
    answers_nothing,
    by_distance,
    by_length,
    curve,
    failures_of,
    gradient_mean,
    length_groups_of,
    length_key,
    losses,
    over_seeds,
    runs_of,
    shown_metrics,
    times_of,
)
from seqlearn.comparison.statistic import Mean
from seqlearn.comparison.wording import ABSENT, count, duration, names, of_metric
from seqlearn.introspect import Recording
from seqlearn.introspect.viewer import to_html_fragment

_SECONDS = "seconds of training"


def sections(content: Content, folder: Path | None) -> list[Section]:
    """All sections of a report.

    Args:
        content: The content of `report.json`.
        folder: The folder with the recordings; `None` leaves the viewer out.
    """
    return [
        Section("Quality", [_interval_note(content), quality_table(content)]),
        *claims(content),
        Section("Training", list(_training(content))),
        Section("Quality by length", list(_by_length(content))),
        Section("Memory by distance", list(_memory(content))),
        Section("Gradient flow", list(_gradients(content))),
        Section("Time per token", list(_times(content))),
        Section("Samples", list(_samples(content))),
        Section("Inside the models", list(_viewers(content, folder))),
        Section("Method", list(_method(content))),
    ]


def _trained(content: Content) -> list[tuple[int, Content]]:
    """The models with a completed run, with their number."""
    return [(at, model) for at, model in enumerate(content["models"]) if runs_of(model)]


def _interval_note(content: Content) -> Text:
    split = {"test": "test", "val": "validation"}[content["data"]["split"]]
    seeds = max((len(runs_of(model)) for model in content["models"]), default=0)
    text = f"Figures of the {split} split. "
    if seeds > 1:
        text += f"Means over {seeds} seeds with 95% intervals (Student's t)."
    else:
        text += "There is one seed, hence no interval: a difference may be due to chance."
    return Text(text)


def quality_table(content: Content) -> Table:
    """One row for each model."""
    metrics = shown_metrics(content)
    means = {
        (model["label"], metric.key): over_seeds(model, "figures", metric.key)
        for model in content["models"]
        for metric in metrics
    }
    best: dict[str, float] = {}
    for metric in metrics:
        values = [m.mean for (_, key), m in means.items() if key == metric.key and m is not None]
        if len(values) > 1:
            best[metric.key] = max(values) if metric.higher else min(values)
    rows: list[Row] = []
    for model in content["models"]:
        label = str(model["label"])
        if runs := runs_of(model):
            size = model["parameters"]
            cells = [Cell(label), Cell(f"{size:,}")]
            for metric in metrics:
                mean = means[label, metric.key]
                strong = mean is not None and mean.mean == best.get(metric.key)
                cells.append(Cell(of_metric(mean, metric), strong=strong))
            steps = sorted({run["training"]["steps"] for run in runs})
            cells.append(Cell("–".join(dict.fromkeys((f"{steps[0]:,}", f"{steps[-1]:,}")))))
            seconds = over_seeds(model, "training", "seconds")
            cells.append(Cell(duration(None if seconds is None else seconds.mean)))
            rows.append(Row(cells))
        rows += [Row([Cell(label), Cell(each)], failed=True) for each in failures_of(model)]
    head = ["model", "parameters", *(metric.name for metric in metrics), "steps", "training time"]
    return Table(head, rows, [False, *[True] * (len(head) - 1)])


def _training(content: Content) -> Iterator[Block]:
    for title, read in (
        ("Validation loss", lambda model: curve(model, "loss")),
        ("Training loss", losses),
    ):
        series = []
        for at, model in _trained(content):
            xs, ys = read(model)
            if xs:
                series.append(Series(model["label"], at, xs, ys))
        if series:
            yield Chart(title, _SECONDS, "loss", series, log_y=_spans(series))
        elif title == "Validation loss":
            yield Text("Without a validation split there is no validation loss.")


def _spans(series: list[Series]) -> bool:
    """Whether positive values span so much that an axis should be logarithmic."""
    values = [mean.mean for one in series for mean in one.ys]
    return bool(values) and min(values) > 0 and max(values) / min(values) > 20


def _errors(content: Content, key: str) -> Iterator[Text]:
    """Why a measurement is missing for some models."""
    labels: dict[str, list[str]] = {}
    for _, model in _trained(content):
        parts = [run[key] for run in runs_of(model) if isinstance(run.get(key), dict)]
        for reason in {part["error"] for part in parts if "error" in part}:
            labels.setdefault(reason, []).append(str(model["label"]))
    for reason, each in labels.items():
        if len(each) == len(_trained(content)):
            yield Text(f"Left out: {reason}.")
        else:
            yield Text(f"{names(each)}: not measured ({reason}).")


def _by_length(content: Content) -> Iterator[Block]:
    metric, groups = length_key(content), length_groups_of(content)
    if metric is None:
        reasons = list(_errors(content, "by_length"))
        stream = "the data is a stream, whose examples have no lengths of their own"
        yield from reasons or [Text(f"Left out: {stream}.")]
        return
    marks = [str(low) if low == high else f"{low}–{high}" for low, high in groups]
    series = []
    for at, model in _trained(content):
        means = by_length(model, metric.key)
        pairs = [(x, mean) for x, mean in enumerate(means) if mean is not None]
        if pairs:
            series.append(Series(model["label"], at, *zip(*pairs, strict=True)))
    run = next(
        r for _, m in _trained(content) for r in runs_of(m) if "groups" in r.get("by_length", {})
    )
    number = run["by_length"]["examples"]
    yield Text(f"{count(number, 'example')} in groups of similar length, in tokens.")
    title = f"{metric.name[0].upper()}{metric.name[1:]}"
    yield Chart(title, "length", metric.name, series, percent=metric.percent, marks=marks)
    yield from _errors(content, "by_length")


def _memory(content: Content) -> Iterator[Block]:
    runs = [run for _, model in _trained(content) for run in runs_of(model)]
    if not any("memory" in run for run in runs):
        yield Text(
            "Left out: in this data no answer depends on something at a known distance. Recall "
            "does, and so does a data module with distance and at_distance."
        )
        return
    series = []
    for at, model in _trained(content):
        pairs = [(distance, mean) for distance, mean in by_distance(model) if mean is not None]
        if pairs:
            series.append(Series(model["label"], at, *zip(*pairs, strict=True)))
    trained = next(
        (run["memory"]["trained"] for run in runs if "trained" in run.get("memory", {})), 0
    )
    yield Text(
        f"Trained at a distance of {trained}, tested at others. A fall beyond it is also a change "
        "of the length of the input."
    )
    yield Chart("Right answers", "distance", "right answers", series, percent=True)
    yield from _errors(content, "memory")
    for _, model in _trained(content):
        failed = {
            point[1]["error"]: point[0]
            for run in runs_of(model)
            for point in reversed(run.get("memory", {}).get("points", []))
            if isinstance(point[1], dict)
        }
        for reason, distance in failed.items():
            yield Text(
                f"{model['label']}: not measured from a distance of {distance} on ({reason})."
            )


def _gradients(content: Content) -> Iterator[Block]:
    for title, when in (("Before training", "gradient_before"), ("After training", "gradient")):
        series = []
        for at, model in _trained(content):
            norms = [
                (x, Mean(y, None, 1)) for x, y in enumerate(gradient_mean(model, when)) if y > 0
            ]
            if norms:
                series.append(Series(model["label"], at, *zip(*norms, strict=True)))
        if series:
            yield Chart(title, "steps before the last one", "gradient norm", series, log_y=True)
    yield Text(
        "The norm of the gradient of the last target's loss with respect to each embedded input "
        "step, in nats, averaged over a few examples."
    )
    yield from _errors(content, "gradient")


def _times(content: Content) -> Iterator[Block]:
    times = content["times"]
    if "error" in times:
        yield Text(f"Left out: {times['error']}.")
        return
    series = []
    for at, model in _trained(content):
        rows = times_of(content, model["label"])
        if rows:
            ys = [Mean(middle / 1e3, None, 1) for _, middle, _, _ in rows]
            series.append(Series(model["label"], at, [length for length, *_ in rows], ys))
    yield Chart("Time per token", "length", "µs", series, log_x=True, log_y=True)
    threads = count(times["threads"], "thread")
    yield Text(
        f"Median time of {times['rounds']} training steps (forward and backward pass, without the "
        f"optimizer) of {times['tokens']:,} tokens in rows of each length, in turn with the other "
        f"models; {times['device'].upper()}, {threads}, {content['machine']['processor']}."
        + " Numbers below 1.2e-38 (denormal) count as zero."
        * times["denormals_are_zero"]
    )
    for label, rows in times["times"].items():
        for each in rows:
            if len(each) == 2:
                yield Text(f"{label}: not timed at length {each[0]} ({each[1]}).")
                break


def _samples(content: Content) -> Iterator[Block]:
    found = {
        model["label"]: run["samples"]
        for _, model in _trained(content)
        for run in runs_of(model)
        if isinstance(run.get("samples"), list)
    }
    if not found and not any(_errors(content, "samples")):
        yield Text("Left out: the data is a stream without single examples.")
    if found:
        for at in range(len(next(iter(found.values())))):
            source, expected, _ = next(iter(found.values()))[at]
            rows = [Row([Cell("source"), Cell(source, tokens=True)])]
            rows.append(Row([Cell("expected"), Cell(expected, tokens=True)]))
            for label, samples in found.items():
                said = samples[at][2]
                right = said == expected
                rows.append(Row([Cell(label), Cell(said, strong=right, tokens=True)]))
            yield Table(["from", f"example {at + 1}"], rows, [False, False])
    yield from _errors(content, "samples")


def _viewers(content: Content, folder: Path | None) -> Iterator[Block]:
    recorded = [
        (str(model["label"]), run)
        for _, model in _trained(content)
        for run in runs_of(model)
        if "file" in run.get("recording", {})
    ]
    wrong = dict.fromkeys(label for label, run in recorded if answers_nothing(run))
    drawn = [(label, run) for label, run in recorded if not answers_nothing(run)]
    if folder is not None:
        for label, run in drawn:
            path = folder / run["folder"] / run["recording"]["file"]
            recording = Recording.load(path) if path.exists() else None
            if recording is not None and (recording.attention or recording.states):
                yield Viewer(label, to_html_fragment(recording, title=label))
            elif recording is not None:
                yield Text(f"{label} has neither attention nor states.")
    elif drawn:
        yield Text("Attention and states of the same example in each model: see the HTML report.")
    if wrong:
        yield Text(f"Not drawn: {names(list(wrong))}. No measured answer is right.")
    if not recorded and not any(_errors(content, "recording")):
        yield Text("Left out: nothing was recorded.")
    yield from _errors(content, "recording")


def _method(content: Content) -> Iterator[Block]:
    settings, machine, data = content["settings"], content["machine"], content["data"]
    trained = [model for _, model in _trained(content)]
    sizes = [model["parameters"] for model in trained]
    equal = {
        "first": "matched to the first model",
        "given": "as given",
    }.get(str(settings["parameters"]), f"matched to {settings['parameters']}")
    lines = [f"Data: {'; '.join(line.strip() for line in str(data['text']).splitlines())}."]
    if sizes:
        lines.append(
            f"Trained parameters: {min(sizes):,} to {max(sizes):,} ({equal}; without the parts "
            "that the task does not use)."
        )
    budget = settings["budget"]
    lines.append(
        f"Training: {budget:g} minutes for each run, as steps planned from the measured time of a "
        "step."
        if budget is not None
        else "Training: the same number of epochs for each run."
        if "max_epochs" in settings["trainer"]
        else "Training: the same arguments of the Trainer for each run."
    )
    trainer = ", ".join(f"{name}={value!r}" for name, value in settings["trainer"].items())
    lines.append(f"Arguments of the Trainer: {trainer}.")
    used = {
        int(run["threads"])
        for model in content["models"]
        for run in runs_of(model)
        if "threads" in run
    }
    threads = f"{count(settings['threads'], 'thread')} each"
    if len(used) > 1:  # runs of an earlier call in the same folder
        threads = f"{names([str(n) for n in sorted(used)])} threads, so their times do not compare"
    lines.append(
        f"Seeds {names([str(seed) for seed in settings['seeds']])}; "
        f"{count(settings['jobs'], 'run')} at a time, {threads}."
    )
    accelerator = f", {machine['accelerator']}" if machine["accelerator"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines.append(
        f"Machine: {machine['processor'] or 'unknown processor'}, {machine['cores']} cores, "
        f"{machine['capability']}{accelerator}; "
        f"{machine['system']}, Python {machine['python']}, {versions}; {machine['date']}."
    )
    yield from map(Text, lines)
    rows = []
    for model in content["models"]:
        options = ", ".join(f"{name}={value!r}" for name, value in model["init_args"].items())
        size = model.get("parameters")
        cells = [model["label"], options or ABSENT, ABSENT if size is None else f"{size:,}"]
        rows.append(Row([Cell(text) for text in [*cells, model.get("note") or ""]]))
    yield Table(["model", "arguments", "parameters", "note"], rows, [False, False, True, False])
