"""The four claims of textbooks about sequence models, against what was measured here.

Each claim is about groups of models: recurrent ones, those with attention, those with one context
vector. Where a group is empty, the claim is not tested. The verdict is a fixed rule over the means,
which each section states.
"""

from __future__ import annotations

from collections.abc import Sequence

from seqlearn.comparison.blocks import Section, Table, Text
from seqlearn.comparison.figures import (
    Content,
    by_length,
    curve,
    gradient_classes,
    gradient_mean,
    length_groups_of,
    length_key,
    role,
    runs_of,
    seconds_per_token,
    times_of,
)
from seqlearn.comparison.statistic import mean_over_seeds
from seqlearn.comparison.wording import ABSENT, duration, names, of_metric, row, short

_ROLES = ("recurrent", "attention")

LEAST = {"bleu": 5.0, "right": 0.1}
"""A model that is worse than this on the shortest sources has not learned the task."""

GROWTH = 1.5
"""The time per token grows with the length if it grows by more than this factor."""


def claims(content: Content) -> list[Section]:
    """The sections of the four claims."""
    models = [model for model in content["models"] if runs_of(model)]
    return [
        slow_to_train(content, models),
        vanishing_gradient(models),
        one_context_vector(content, models),
        parallel(content, models),
    ]


def _verdict(claim: str, *, holds: bool, fails: bool, measured: str) -> Text:
    """Whether a claim holds, in words."""
    if holds:
        return Text(f"{claim} Holds here. {measured}", "holds")
    if fails:
        return Text(f"{claim} Does not hold here. {measured}", "fails")
    return Text(f"{claim} Holds for some models only. {measured}", "mixed")


def _labels(models: Sequence[Content]) -> str:
    return names([str(model["label"]) for model in models])


def _split(models: Sequence[Content]) -> tuple[list[Content], list[Content]]:
    """Recurrent models, and those without recurrence."""
    recurrent = [model for model in models if role(model, "recurrent")]
    return recurrent, [model for model in models if model not in recurrent]


def slow_to_train(content: Content, models: Sequence[Content]) -> Section:
    """Time per token in training, and the time until a common validation loss."""
    claim = "Claim: recurrent networks are slower to train than networks without recurrence."
    title = "Slow to train?"
    recurrent, others = _split(models)
    per_token = {
        m["label"]: mean_over_seeds([seconds_per_token(run) for run in runs_of(m)]) for m in models
    }
    common, reached = _time_to_common_loss(models)
    rows = []
    for model in models:
        mean = per_token[model["label"]]
        texts = [model["label"], "yes" if role(model, "recurrent") else "no"]
        texts.append(ABSENT if mean is None else f"{1e6 * mean.mean:.3g}")
        texts.append(duration(reached.get(model["label"])))
        rows.append(row(*texts))
    head = ["model", "recurrent", "µs per token", "time to common loss"]
    caption = f"Training time ({_clock(content)}) per token of source and target"
    if common is not None:
        caption += f"; time until the validation loss is at most {common:.3f}, which all reach"
    table = Table(head, rows, [False, False, True, True], caption + ".")
    if not recurrent or not others:
        missing = "without recurrence" if recurrent else "with recurrence"
        return Section(
            title, [Text(f"{claim} Not tested: no model {missing} was trained.", "open"), table]
        )
    slow = [m.mean for each in recurrent if (m := per_token[each["label"]]) is not None]
    fast = [m.mean for each in others if (m := per_token[each["label"]]) is not None]
    measured = (
        f"Rule: time per token in training. {_labels(recurrent)} took "
        f"{_range([1e6 * each for each in slow])} µs per token, {_labels(others)} "
        f"{_range([1e6 * each for each in fast])} µs."
    )
    holds, fails = min(slow) > max(fast), max(slow) <= min(fast)
    return Section(title, [_verdict(claim, holds=holds, fails=fails, measured=measured), table])


def _time_to_common_loss(models: Sequence[Content]) -> tuple[float | None, dict[str, float]]:
    """The lowest validation loss that all models reach, and when each reaches it."""
    curves = {model["label"]: curve(model, "loss") for model in models}
    if not curves or not all(xs for xs, _ in curves.values()):
        return None, {}
    common = max(min(mean.mean for mean in ys) for _, ys in curves.values())
    return common, {
        label: next(x for x, y in zip(xs, ys, strict=True) if y.mean <= common)
        for label, (xs, ys) in curves.items()
    }


def vanishing_gradient(models: Sequence[Content]) -> Section:
    """The class of the gradient flow before and after training."""
    claim = (
        "Claim: the gradient vanishes over long distances in recurrent networks without attention."
    )
    title = "Vanishing gradient?"
    rows = []
    for model in models:
        texts = [str(model["label"]), *("yes" if role(model, each) else "no" for each in _ROLES)]
        for when in ("gradient_before", "gradient"):
            norms, classes = gradient_mean(model, when), gradient_classes(model, when)
            back = len(norms) - 1
            texts.append(names(list(dict.fromkeys(classes))) or ABSENT)
            far = norms[-1] / norms[0] if back > 0 and norms[0] > 0 else None
            texts.append(ABSENT if far is None else f"× {short(far)} over {back}")
        rows.append(row(*texts))
    head = ["model", *_ROLES, "before training", "norm, far / near"]
    head += ["after training", "norm, far / near"]
    numeric = [False, False, False, False, True, False, True]
    caption = (
        "The norm of the gradient of the last target's loss with respect to the embedded input at "
        "the farthest step, relative to the last step, and the number of steps between them."
    )
    table = Table(head, rows, numeric, caption)
    measurable = [model for model in models if gradient_classes(model, "gradient")]
    known = [m for m in measurable if role(m, "recurrent") and not role(m, "attention")]
    others = [model for model in measurable if model not in known]
    if not known:
        reason = "no recurrent model without attention was measured"
        return Section(title, [Text(f"{claim} Not tested: {reason}.", "open"), table])
    found = {str(m["label"]): gradient_classes(m, "gradient") for m in measurable}
    vanishing = [m for m in known if set(found[m["label"]]) == {"vanishing"}]
    other = [m for m in others if set(found[m["label"]]) == {"vanishing"}]
    spared = [m for m in known if "vanishing" not in found[m["label"]]]
    seeds = [m for m in known if m not in vanishing and m not in spared]
    measured = "Rule: the class of the gradient flow after training. "
    if vanishing and spared:
        measured += f"It vanishes in {_labels(vanishing)}, and not in {_labels(spared)}."
    elif vanishing:
        measured += f"It vanishes in {_labels(vanishing)}."
    elif spared:
        measured += f"It does not vanish in {_labels(spared)}."
    if seeds:
        measured += f" It vanishes with some seeds, and not with others, in {_labels(seeds)}."
    if others:
        measured += f" Of the other models it vanishes in {_labels(other) or 'none'}."
    holds, fails = len(vanishing) == len(known), len(spared) == len(known)
    return Section(title, [_verdict(claim, holds=holds, fails=fails, measured=measured), table])


def one_context_vector(content: Content, models: Sequence[Content]) -> Section:
    """Quality of short and long examples, with attention to the source and without."""
    claim = (
        "Claim: one context vector is a bottleneck; quality falls with the length of the source, "
        "and less so with attention."
    )
    title = "Bottleneck of one context vector?"
    groups, metric = length_groups_of(content), length_key(content)
    generated = content["data"]["generated"]
    if not generated or metric is None or len(groups) < 2 or metric.key == "loss":
        reason = (
            "all measured sources have the same length"
            if generated
            else "the data has no texts to be generated from a source"
        )
        return Section(title, [Text(f"{claim} Not tested: {reason}.", "open")])
    left: dict[str, float] = {}
    rows = []
    for model in models:
        means = by_length(model, metric.key)
        first, last = (means[0], means[-1]) if means else (None, None)
        share = last.mean / first.mean if first and last and first.mean else None
        if share is not None and first is not None and first.mean >= LEAST[metric.key]:
            left[model["label"]] = share
        texts = [str(model["label"]), "yes" if role(model, "attention") else "no"]
        texts += [of_metric(first, metric), of_metric(last, metric)]
        rows.append(row(*texts, ABSENT if share is None else f"{share:.0%}"))
    ends = [f"{low} to {high}" for low, high in (groups[0], groups[-1])]
    head = ["model", "attention", f"length {ends[0]}", f"length {ends[1]}", "left"]
    table = Table(
        head, rows, [False, False, True, True, True], f"{metric.name[0].upper()}{metric.name[1:]}."
    )
    with_it = [left[m["label"]] for m in models if role(m, "attention") and m["label"] in left]
    without = [m for m in models if not role(m, "attention") and m["label"] in left]
    if not with_it or not without:
        missing = "with attention" if without else "with one context vector"
        return Section(
            title,
            [Text(f"{claim} Not tested: no model {missing} has learned the task.", "open"), table],
        )
    shares = [left[m["label"]] for m in without]
    one, several = (_range([100 * share for share in group]) for group in (shares, with_it))
    measured = (
        f"Rule: the share of {metric.name} on the shortest sources that is left on the longest, "
        f"of models that have learned the task. It is {one}% with one context vector "
        f"({_labels(without)}), and {several}% with attention."
    )
    holds, fails = max(shares) < min(with_it), min(shares) >= max(with_it)
    return Section(title, [_verdict(claim, holds=holds, fails=fails, measured=measured), table])


def parallel(content: Content, models: Sequence[Content]) -> Section:
    """The growth of the time per token with the length."""
    claim = "Claim: networks without recurrence process all positions in parallel."
    title = "Parallel over positions?"
    growth: dict[str, float] = {}
    rows = []
    ends = (0, 0)
    for model in models:
        times = times_of(content, model["label"])
        if len(times) < 2:
            continue
        ends = (times[0][0], times[-1][0])
        growth[model["label"]] = times[-1][1] / times[0][1]
        texts = [str(model["label"]), "yes" if role(model, "recurrent") else "no", str(ends[1])]
        texts += [short(times[0][1] / 1e3), short(times[-1][1] / 1e3)]
        rows.append(row(*texts, f"× {growth[model['label']]:.2f}"))
    recurrent, others = _split([model for model in models if model["label"] in growth])
    if not rows:
        reason = str(content["times"].get("error", "no time was measured"))
        return Section(title, [Text(f"{claim} Not tested: {reason}.", "open")])
    times_content = content["times"]
    threads = f"{times_content['threads']} thread{'s' * (times_content['threads'] > 1)}"
    head = [
        "model",
        "recurrent",
        "longest",
        f"µs per token at {ends[0]}",
        "at the longest",
        "growth",
    ]
    numeric = [False, False, True, True, True, True]
    caption = (
        f"Forward and backward pass of {times_content['tokens']:,} tokens, in rows of each length; "
        f"{times_content['device'].upper()}, {threads}."
    )
    table = Table(head, rows, numeric, caption)
    if not recurrent or not others:
        missing = "without recurrence" if recurrent else "with recurrence"
        return Section(
            title, [Text(f"{claim} Not tested: no model {missing} was timed.", "open"), table]
        )
    slow, fast = ([growth[m["label"]] for m in group] for group in (recurrent, others))
    measured = (
        f"Rule: a recurrent network takes its steps one after the other, so that the same tokens "
        f"in longer rows take longer; without recurrence the time per token grows by at most "
        f"× {GROWTH}. It grows by × {_range(slow)} for {_labels(recurrent)}, and by × "
        f"{_range(fast)} for {_labels(others)}."
    )
    if times_content["device"] == "cpu" and times_content["threads"] == 1:
        measured += " On one thread nothing runs in parallel; the figures show the cost of steps."
    holds = max(fast) <= GROWTH and min(slow) > max(fast)
    fails = min(fast) > GROWTH or max(slow) <= min(fast)
    return Section(title, [_verdict(claim, holds=holds, fails=fails, measured=measured), table])


def _range(values: Sequence[float]) -> str:
    """One number, or the smallest and the largest."""
    low, high = short(min(values)), short(max(values))
    return low if low == high else f"{low} to {high}"


def _clock(content: Content) -> str:
    devices = {run["training"]["device"] for model in content["models"] for run in runs_of(model)}
    return "CPU time" if devices == {"cpu"} else "elapsed time"
