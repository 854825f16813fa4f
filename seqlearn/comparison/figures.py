"""The figures of a comparison, averaged over seeds: what tables and charts show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from seqlearn.comparison.statistic import Mean, mean_over_seeds

Content = Mapping[str, Any]
"""The whole content of `report.json`."""


class Metric(NamedTuple):
    """A figure of merit.

    Attributes:
        key: Its name in the results.
        name: Its name for people.
        percent: Whether it is a fraction that is shown in percent.
        higher: Whether more is better.
    """

    key: str
    name: str
    percent: bool = False
    higher: bool = True


METRICS = (
    Metric("exact_match", "exact match", percent=True),
    Metric("bleu", "BLEU"),
    Metric("accuracy", "accuracy", percent=True),
    Metric("f1", "F1", percent=True),
    Metric("span_f1", "F1 of spans", percent=True),
    Metric("token_accuracy", "token accuracy", percent=True),
    Metric("r2", "R²"),
    Metric("rmse", "RMSE", higher=False),
    Metric("mae", "MAE", higher=False),
    Metric("perplexity", "perplexity", higher=False),
    Metric("loss", "loss", higher=False),
)
"""Figures in the order of their weight; a table shows the first ones that are there."""

_F1 = ("f1", "span_f1")
_LANGUAGE_MODEL = ("perplexity", "token_accuracy", "loss")
_SHOWN = 3


def runs_of(model: Content) -> list[Content]:
    """The completed runs of a model."""
    return [run for run in model["runs"] if "failed" not in run]


def failures_of(model: Content) -> list[str]:
    """Why runs of a model have failed."""
    if "failed" in model:
        return [str(model["failed"])]
    failed = [run for run in model["runs"] if "failed" in run]
    reasons = dict.fromkeys(str(run["failed"]) for run in failed)
    return [
        f"seed {', '.join(str(run['seed']) for run in failed if run['failed'] == reason)}: {reason}"
        for reason in reasons
    ]


def over_seeds(model: Content, *path: str | int) -> Mean | None:
    """The mean of a figure over the completed runs of a model that have it.

    Args:
        model: The model.
        path: Keys and indices that lead to the figure in a run.
    """
    return mean_over_seeds([x for run in runs_of(model) if (x := _at(run, path)) is not None])


def _at(run: Any, path: Sequence[str | int]) -> float | None:
    """A number in a run; `None` if it is not there."""
    for key in path:
        try:
            run = run[key]
        except (KeyError, IndexError, TypeError):
            return None
    return float(run) if isinstance(run, int | float) else None


def metrics_of(content: Content) -> list[Metric]:
    """The metrics that the completed runs have."""
    runs = [run for model in content["models"] for run in runs_of(model)]
    known = {key for run in runs for key in run["figures"]}
    if known and known <= {*_LANGUAGE_MODEL, "exact_match"}:  # nothing was generated
        known &= set(_LANGUAGE_MODEL)
    return [metric for metric in METRICS if metric.key in known]


def answers_nothing(run: Content) -> bool:
    """Whether no measured answer of a run is right, not even in good part.

    False where answers were not measured. A text or a row of tags counts as right as a whole, so
    BLEU and F1 must be low too.

    Examples:
        >>> answers_nothing({"figures": {"accuracy": 0.0}})
        True
        >>> groups = [{"right": 0.0}, {"right": 0.02}]
        >>> answers_nothing({"figures": {}, "by_length": {"groups": groups}})
        False
    """
    groups, figures = run.get("by_length", {}).get("groups", []), run["figures"]
    shares = [group["right"] for group in groups if "right" in group]
    if not shares and not set(figures) <= {*_LANGUAGE_MODEL, "exact_match"}:
        shares = [figures[key] for key in ("exact_match", "accuracy") if key in figures]
    partly = figures.get("bleu", 0) >= 10 or max(figures.get(key, 0) for key in _F1) >= 0.1
    return bool(shares) and max(shares) == 0 and not partly


def shown_metrics(content: Content) -> list[Metric]:
    """The metrics that fit into a table."""
    metrics = metrics_of(content)
    best = [over_seeds(model, "figures", "exact_match") for model in content["models"]]
    if all(mean is None or mean.mean < 0.2 for mean in best):  # too rare to compare
        metrics.sort(key=lambda metric: metric.key == "exact_match")
    return metrics[:_SHOWN]


def seconds_per_token(run: Content) -> float:
    """The time of training per token of source and target."""
    return float(run["training"]["seconds"]) / float(run["training"]["tokens"])


def role(model: Content, name: str) -> bool:
    """Whether a model has a role: `"recurrent"` or `"attention"`.

    A model whose recording has attention weights has attention, also of its own making.
    """
    runs = runs_of(model)
    recorded = any(run.get("recording", {}).get("attends", False) for run in runs)
    return any(run["roles"][name] for run in runs) or (name == "attention" and recorded)


def length_key(content: Content) -> Metric | None:
    """The figure of the quality by length; `None` if no run has any."""
    groups = [
        group
        for model in content["models"]
        for run in runs_of(model)
        for group in run.get("by_length", {}).get("groups", [])
    ]
    if not groups:
        return None
    keys = set.intersection(*(set(group) for group in groups))
    rights = [group["right"] for group in groups if "right" in group]
    if "bleu" in keys and max(rights, default=0.0) < 0.2:
        return Metric("bleu", "BLEU")
    if "right" in keys:
        return Metric("right", "right answers", percent=True)
    return Metric("loss", "loss", higher=False)


def length_groups_of(content: Content) -> list[tuple[int, int]]:
    """The groups of lengths, which are the same for all runs."""
    for model in content["models"]:
        for run in runs_of(model):
            if groups := run.get("by_length", {}).get("groups"):
                return [(group["low"], group["high"]) for group in groups]
    return []


def by_length(model: Content, key: str) -> list[Mean | None]:
    """A figure of each group of lengths, over seeds."""
    counts = [len(run.get("by_length", {}).get("groups", [])) for run in runs_of(model)]
    path = ("by_length", "groups")
    return [over_seeds(model, *path, at, key) for at in range(max(counts, default=0))]


def by_distance(model: Content) -> list[tuple[int, Mean | None]]:
    """The share of right answers at each distance, over seeds."""
    runs = [run for run in runs_of(model) if "points" in run.get("memory", {})]
    points: list[Any] = runs[0]["memory"]["points"] if runs else []
    distances = [int(distance) for distance, _ in points]
    path = ("memory", "points")
    return [(each, over_seeds(model, *path, at, 1)) for at, each in enumerate(distances)]


def gradient_mean(model: Content, when: str) -> list[float]:
    """The mean gradient norm at each distance; `when` is `gradient_before` or `gradient`."""
    curves = [run[when]["curve"] for run in runs_of(model) if "curve" in run.get(when, {})]
    curves = [curve for curve in curves if curve]
    if not curves:
        return []
    return [
        sum(curve[at] or 0.0 for curve in curves) / len(curves)
        for at in range(min(map(len, curves)))
    ]


def gradient_classes(model: Content, when: str) -> list[str]:
    """The class of the gradient flow of each run."""
    return [run[when]["class"] for run in runs_of(model) if "class" in run.get(when, {})]


def curve(model: Content, figure: str) -> tuple[list[float], list[Mean]]:
    """Seconds and a figure after each validation, averaged over seeds."""
    runs = [run["training"]["validations"] for run in runs_of(model)]
    xs: list[float] = []
    ys: list[Mean] = []
    for points in zip(*runs, strict=False):
        mean = mean_over_seeds([point[2].get(figure, float("nan")) for point in points])
        if mean is not None:
            xs.append(sum(point[1] for point in points) / len(points))
            ys.append(mean)
    return xs, ys


def losses(model: Content) -> tuple[list[float], list[Mean]]:
    """Seconds and the training loss, averaged over seeds."""
    runs = [run["training"]["losses"] for run in runs_of(model)]
    xs: list[float] = []
    ys: list[Mean] = []
    for points in zip(*runs, strict=False):
        mean = mean_over_seeds([point[2] for point in points])
        if mean is not None:
            xs.append(sum(point[1] for point in points) / len(points))
            ys.append(mean)
    return xs, ys


def times_of(content: Content, label: str) -> list[tuple[int, float, float, float]]:
    """Length, and median, least and most nanoseconds per token."""
    rows: Sequence[Any] = content["times"].get("times", {}).get(label, [])
    return [(row[0], row[1], row[2], row[3]) for row in rows if len(row) == 4]
