# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Series and tags
#
# **Claim.** A tag can depend on what comes later. A network that reads from left to right, or a
# window that ends at the character, must guess wherever the text so far has two readings. A network
# that reads in both directions need not. And a series of numbers is a sequence like any other: the
# same architectures classify it and continue it, and its normalization is a part of the model.
#
# The first half of this tutorial tags the parts of written-out dates, and compares three networks
# with the best that any reader from left to right can do. The second half classifies and forecasts
# waveforms. It takes about two minutes on two cores and downloads nothing.

# %%
import logging
import tempfile
import warnings
from collections import Counter, defaultdict

import lightning as L
import numpy as np
import torch
from matplotlib import pyplot as plt

import seqlearn as sl
from seqlearn.introspect import confusion_heatmap

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## Tags of characters
#
# `Dates(task="tagging")` has a tag for each character of a date. The first character of a day has
# the tag `B-day` (it begins the span), the others `I-day` (they are inside); likewise for month,
# year and weekday. Everything else is `O`, outside. This scheme is called IOB2. Below each date we
# write the first letter of its tags, a capital where a part begins.

# %%
data = sl.data.Dates("fr_CA", task="tagging", batch_tokens=4096)
examples = list(data.examples("test"))


def in_short(tags):
    """One letter for each tag: D or d for a day, W or w for a weekday."""
    letters = {"B": str.upper, "I": str.lower}
    return "".join(
        "·" if tag == "O" else letters[tag[0]](tag[2]) for tag in tags
    )


shown = {len(text): (text, tags) for text, tags in examples[:40]}
for _, (text, tags) in sorted(shown.items())[::3]:
    print(text, in_short(tags), sep="\n", end="\n\n")

# %% [markdown]
# Dates of Canadian French come with the day first or with the year first. A text that begins with
# `20` may be the 20th of a month or a year from 2000 on: nothing to the left tells which.
#
# ## What the text so far can tell
#
# How often does that matter? A network that reads from left to right computes the tag of a
# character from the text up to it. Where the same beginning has different tags in different dates,
# it gives them all the same tag, and at best the most frequent one. So we can count how many
# characters of the test split *any* such network can get right, without training one. With `ahead`
# we let it look at some characters more.


# %%
def ceiling(examples, ahead=0):
    """The best accuracy if a tag depends on the text up to its character."""
    counts = defaultdict(Counter)
    for text, tags in examples:
        for place, tag in enumerate(tags):
            counts[text[: place + 1 + ahead], place][tag] += 1
    best = sum(max(tags.values()) for tags in counts.values())
    return best / sum(len(tags) for _, tags in examples)


limit = ceiling(examples)
print(f"from left to right, at most {limit:.2%} of the characters")
assert limit < 0.985

# %% [markdown]
# The rest is left for a network that also reads what follows.
#
# ## Three networks
#
# - `FeedForward` reads a window that ends at the character. A window of 32 contains all of the text
#   so far, because no date is longer.
# - `GRU` reads from left to right. Its state after a character predicts the tag.
# - `GRU(bidirectional=True)` has a second layer that reads from right to left. The two states at a
#   character together have read the whole text.


# %%
def trained(architecture, data, epochs, callbacks=(), **arguments):
    """Train an architecture; return it and its figures on the test split."""
    L.seed_everything(0, verbose=False)
    recipe = sl.Recipe(lr=3e-3, warmup_steps=20, schedule="cosine")
    settings = {"d_model": 64, "dropout": 0.0, "recipe": recipe}
    model = architecture(data.spec, **settings, **arguments)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    (figures,) = trainer.test(model, data, verbose=False)
    return model.eval(), {
        name.removeprefix("test/"): value for name, value in figures.items()
    }


assert data.spec.source.max_length <= 32
networks = {
    "window": (sl.FeedForward, {"window": 32}),
    "left to right": (sl.GRU, {"num_layers": 1}),
    "both directions": (sl.GRU, {"num_layers": 1, "bidirectional": True}),
}
models, figures = {}, {}
for name, (architecture, arguments) in networks.items():
    models[name], figures[name] = trained(architecture, data, 3, **arguments)

# %% [markdown]
# *Accuracy* counts characters. *F1* counts spans, and is stricter: a year is right only if all of
# it, and nothing else, is tagged as a year
# ([Tjong Kim Sang and De Meulder 2003](../bibliography.md#tjong-kim-sang-de-meulder-2003)).

# %%
parts = ("weekday", "day", "month", "year")
print(f"{'':17}{'accuracy':>9}", *(f"{'F1 ' + part:>11}" for part in parts))
for name, found in figures.items():
    scores = (f"{found[f'f1/{part}']:11.1%}" for part in parts)
    print(f"{name:17}{found['accuracy']:9.2%}", *scores)
print(f"{'ceiling':17}{limit:9.2%}  from left to right")

for name in ("window", "left to right"):
    assert limit - 0.02 < figures[name]["accuracy"] <= limit
    assert max(figures[name][f"f1/{part}"] for part in ("day", "year")) < 0.9
    assert (
        min(figures[name][f"f1/{part}"] for part in ("weekday", "month")) > 0.95
    )
both = figures["both directions"]
assert both["accuracy"] > 0.99 > limit
assert min(both[f"f1/{part}"] for part in parts) > 0.99

# %% [markdown]
# The first two networks come close to the ceiling, and cannot pass it. Weekdays and months are
# easy for them, because these names are recognized as they are read. What they lose are the spans
# of days and years. A larger network or a longer training changes nothing about that. The network
# that reads in both directions passes the ceiling, and tags all four parts almost without an error.
#
# ## Where the guess is
#
# Two dates that begin with `20`: for each character, the probability of each part. Below the
# characters are the predicted tags.

# %%
# | fig-alt: The probability of each part for the characters of two dates that begin with 20, from
# |   left to right and in both directions, with the predicted tags below the characters.
# | fig-cap: Probability of each part of the date, character by character.
pair = ["20 novembre 2026", "2026-11-20"]
labels = data.spec.target.labels
rows = ("outside", *parts)


def by_part(probabilities):
    """The probability of each part, at its first character or inside."""
    part_of = {"outside" if label == "O" else label[2:]: [] for label in labels}
    for number, label in enumerate(labels):
        part_of["outside" if label == "O" else label[2:]].append(number)
    return np.stack(
        [probabilities[:, part_of[row]].sum(1).numpy() for row in rows]
    )


figure, axes = plt.subplots(
    2, 2, figsize=(9, 4.2), layout="constrained", width_ratios=(16, 10)
)
for line, name in zip(axes, ("left to right", "both directions"), strict=True):
    tags, probabilities = models[name].tag(pair)
    for panel, text, predicted, each in zip(
        line, pair, tags, probabilities, strict=True
    ):
        image = panel.imshow(
            by_part(each), cmap="magma_r", vmin=0, vmax=1, aspect="auto"
        )
        panel.set_yticks(
            range(len(rows)), rows if panel is line[0] else [""] * len(rows)
        )
        marks = zip(text.replace(" ", "␣"), in_short(predicted), strict=True)
        panel.set_xticks(
            range(len(text)),
            [f"{character}\n{tag}" for character, tag in marks],
        )
        panel.set_title(name)
_ = figure.colorbar(image, ax=axes, label="probability")

# %% [markdown]
# From left to right, the first two characters get the same probabilities in both dates, divided
# between day and year: the network has read the same text. In both directions they are tagged
# rightly from the first character on.

# %%
(day_first, year_first) = models["left to right"].tag(pair)[1]
assert torch.allclose(day_first[:2], year_first[:2], atol=1e-5)
begins = [labels.index("B-day"), labels.index("B-year")]
print("from left to right, the first character begins")
for label, probability in zip(
    ("a day", "a year"), day_first[0, begins].tolist(), strict=True
):
    print(f"  {label:7} {probability:6.1%}")
    assert 0.1 < probability < 0.9
expected = ["Dd·Mmmmmmmm·Yyyy", "Yyyy·Mm·Dd"]
assert [
    in_short(tags) for tags in models["both directions"].predict(pair)
] == expected

# %% [markdown]
# ## From tags to parts
#
# `model.predict` takes the text as it is written and returns a tag for each character. On the
# command line it is `seqlearn predict model.ckpt dates.txt`. A part is the text of a span:


# %%
def parts_of(text, tags):
    """The text of each span by its type."""
    found = {}
    for character, tag in zip(text, tags, strict=True):
        if tag != "O":
            found[tag[2:]] = (
                "" if tag[0] == "B" else found.get(tag[2:], "")
            ) + character
    return found


texts = ["mardi 3 mars 2026", "31 déc. 1999", "sam. 2024-06-15"]
for text, tags in zip(
    texts, models["both directions"].predict(texts), strict=True
):
    print(f"{text:18} {parts_of(text, tags)}")
assert parts_of(text, tags) == {
    "weekday": "sam.",
    "year": "2024",
    "month": "06",
    "day": "15",
}

# %% [markdown]
# The viewer plays the reading back: two layers, one from each side.

# %%
with sl.record(models["both directions"]) as recording:
    models["both directions"].predict(pair[1:])
recording.view(opens="unrolled_rnn", title="Tags from both directions")

# %% [markdown]
# ## Series of numbers
#
# A series has a vector of numbers at each time step instead of a token. Here it is one number:
# `Waveforms` generates waves of four forms with noise. Form, period, phase, amplitude and length
# differ from series to series.

# %%
# | fig-alt: One series of each form: sawtooth, sine, square and triangle, with noise.
# | fig-cap: One series of each form.
waves = sl.data.Waveforms("form", batch_tokens=2048)
some = {form: series for series, form in list(waves.examples("test"))[:8]}
figure, axes = plt.subplots(
    1, 4, figsize=(9, 2), sharey=True, layout="constrained"
)
for panel, form in zip(axes, sorted(some), strict=True):
    panel.plot(some[form], ".-", linewidth=0.8, markersize=3)
    panel.set(title=form, xlabel="time step")

# %% [markdown]
# The network is the same as for the dates. Only its input layer differs, which maps the number
# instead of looking up an embedding, and its output: one class for the whole series. The spec of
# the data determines both.

# %%
# | fig-alt: Confusion matrix of the four forms: most errors are between sine and triangle.
# | fig-cap: Confusion of the forms on the test split.
folder = tempfile.TemporaryDirectory()
confusion = sl.callbacks.ConfusionMatrix(directory=folder.name)
arguments = {"num_layers": 1, "bidirectional": True}
classifier, scores = trained(sl.GRU, waves, 4, [confusion], **arguments)
print(f"{scores['accuracy']:.1%} right (chance: 25%)")
assert scores["accuracy"] > 0.65
confusion_heatmap(confusion.counts, confusion.labels)

# %% [markdown]
# Rows are the true forms. Sawtooth and square are almost never confused with anything. Most errors
# are between sine and triangle, and there is a reason: the two differ by less than the noise, whose
# standard deviation is 0.3.

# %%
sine, triangle = (
    confusion.labels.index("sine"),
    confusion.labels.index("triangle"),
)
errors = confusion.counts.sum() - np.trace(confusion.counts)
between = confusion.counts[sine, triangle] + confusion.counts[triangle, sine]
wave = np.sin(2 * np.pi * np.linspace(0, 1, 1000))
difference = np.abs(
    wave - np.arcsin(wave) * 2 / np.pi
).max()  # arcsin makes it a triangle
print(f"{between} of {errors} errors are between sine and triangle")
print(f"largest difference of the two, at amplitude 1: {difference:.2f}")
assert between > 0.6 * errors
assert difference < waves.noise
assert min(scores["f1/sawtooth"], scores["f1/square"]) > 0.85

# %% [markdown]
# ## A forecast
#
# With a vector as the target, the same series is continued: the next eight numbers, without noise.
# Two networks: a `GRU` that reads the whole series, and a `FeedForward` that sees the last 24
# numbers only; six epochs of it take about as long as three of the `GRU`. The baseline repeats the
# last number. $R^2$ is 1 for a perfect forecast, and 0 for one that is no better than the mean.

# %%
future = sl.data.Waveforms(
    "continuation", noise=0.1, train_examples=8000, batch_tokens=2048
)
series, targets = zip(*future.examples("test"), strict=True)
targets = np.stack(targets)
repeated = np.stack([np.repeat(each[-1], future.horizon) for each in series])
warnings.filterwarnings(
    "ignore", message="FeedForward reads the last"
)  # which is intended here

forecasters = {
    "GRU": trained(sl.GRU, future, 3, num_layers=1),
    "window of 24": trained(
        sl.FeedForward, future, 6, window=24, overflow="truncate"
    ),
}
print(f"{'last number':13} mean error {np.abs(repeated - targets).mean():.2f}")
for name, (_, scores) in forecasters.items():
    print(f"{name:13} mean error {scores['mae']:.2f}   R² {scores['r2']:.2f}")
errors = {name: scores["mae"] for name, (_, scores) in forecasters.items()}
assert errors["window of 24"] < 0.9 * errors["GRU"]
assert errors["GRU"] < 0.7 * np.abs(repeated - targets).mean()
assert forecasters["window of 24"][1]["r2"] > 0.6

# %%
# | fig-alt: Four series with the true continuation and the forecast; the window is gray.
# | fig-cap: Forecasts and true continuations.
model = forecasters["window of 24"][0]
forecasts = model.predict(list(series[:4]))
figure, axes = plt.subplots(
    1, 4, figsize=(9, 2.2), sharey=True, layout="constrained"
)
for panel, past, target, forecast in zip(
    axes, series, targets, forecasts, strict=False
):
    steps = np.arange(len(past), len(past) + future.horizon)
    panel.plot(past, linewidth=0.8, label="series")
    panel.plot(
        steps,
        target,
        "o-",
        color="0.6",
        markersize=3,
        label="true continuation",
    )
    panel.plot(steps, forecast, ".-", label="forecast")
    panel.axvspan(len(past) - 24.5, len(past) - 0.5, color="0.94")
    panel.set(xlabel="time step")
_ = figure.legend(
    *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3
)

# %% [markdown]
# Gray is the window. This time it wins: the longest period is 16, so 24 numbers contain everything
# that a forecast needs, and the network has weights for each of them, instead of a state that has
# to hold them all. No architecture is the best one for every task: what counts is *where* the
# information is that a task needs.
#
# ## Normalization
#
# Raw measurements have units. We express the same waves in another one, with a mean near 1000. By
# default the data module computes mean and standard deviation over the training split and keeps
# them in the spec; the model subtracts and divides itself.


# %%
class Readings(sl.data.SequenceDataModule):
    """The waves as readings of a sensor."""

    def __init__(self, normalize):
        source = sl.data.Series(1, normalize=normalize)
        super().__init__(source, sl.data.Classes(), batch_tokens=2048)

    def examples(self, split):
        return (
            (1000 + 5 * series, form) for series, form in waves.examples(split)
        )


accuracy = {}
for normalize in (True, False):
    readings = Readings(normalize)
    source = readings.spec.source
    model, scores = trained(sl.GRU, readings, 4, **arguments)
    accuracy[normalize] = scores["accuracy"]
    if normalize:
        print(
            f"mean {source.mean[0]:.1f}, standard deviation {source.std[0]:.1f}"
        )
        raw = next(iter(readings.examples("test")))[0]
        print(
            f"predict takes raw numbers such as {raw[0, 0]:.1f}:",
            model.predict([raw]),
        )
    print(f"normalize={normalize}: {scores['accuracy']:.1%} right")
assert accuracy[True] > 0.65
assert accuracy[False] < 0.4

# %% [markdown]
# Without normalization the network guesses: compared with 1000, the wave is a small change of a
# large input. Because the scaling is in the spec, it is also in every checkpoint, and whoever uses
# the model passes numbers in their unit. Statistics of the whole data, test split included, would
# be a leak; these are of the training split alone.
#
# ## Exercises
#
# **1.** How many characters ahead must a network look to tag every date of the test split? Use
# `ceiling`.
#
# <details markdown>
# <summary>Solution</summary>

# %%
for ahead in range(4):
    print(f"{ahead} characters ahead: at most {ceiling(examples, ahead):7.2%}")
assert ceiling(examples, 1) < 1
assert ceiling(examples, 2) == 1

# %% [markdown]
# Two: in `20 nov.` the space is the second character after the `2`, and in `2026` it is a digit. A
# window that ends two characters later would be enough; reading in both directions needs no such
# number to be known.
#
# </details>
#
# **2.** Is it so in every language? Find one whose dates a network can tag from left to right
# without an error, and another one whose dates it cannot.
#
# <details markdown>
# <summary>Solution</summary>

# %%
ceilings = {}
for locale in ("en", "de", "fr", "ja", "hu", "sv"):
    dates = sl.data.Dates(locale, task="tagging")
    ceilings[locale] = ceiling(list(dates.examples("test")))
    print(f"{locale}  {ceilings[locale]:7.2%}")
assert ceilings["de"] == ceilings["fr"] == ceilings["ja"] == ceilings["hu"] == 1
assert max(ceilings["en"], ceilings["sv"]) < 1

# %% [markdown]
# German, French, Japanese and Hungarian have one order each, with day or year first in all
# formats, and can be tagged as they are read. Swedish has two, like Canadian French. In English an
# `M` begins Monday, but also March and May.
#
# </details>
#
# ## Next
#
# [Data](../data.md#taggedtext) describes `TaggedText`, for tags of words, and
# [`SeriesFiles`](../data.md#seriesfiles), for series of your own. Figures on real data are in the
# results on [JapaneseVowels](../results/japanese-vowels.md) and on
# [case and punctuation](../results/casing.md).
