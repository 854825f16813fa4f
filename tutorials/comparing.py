# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # A fair comparison of architectures
#
# **Claim.** A comparison of architectures is fair only if everything else is equal: the number of
# parameters, the data, the training, the seeds, the initialization, and the effort of tuning. If
# one of them differs, the winner can be the wrong one.
#
# This tutorial compares a GRU with an LSTM by hand, as it is often done, and gets a clear result.
# Then it repeats the comparison with `sl.compare`, at equal size, and gets the opposite. In the end
# it finds that one thing was still unequal, and without it the difference is gone. It takes about
# two minutes on two cores and downloads nothing.

# %%
import itertools
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import lightning as L
import torch
from matplotlib import pyplot as plt

import seqlearn as sl
from seqlearn.introspect import gradient_curves

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
folder = tempfile.TemporaryDirectory()
place = Path(folder.name)

# %% [markdown]
# ## The task
#
# `Recall` names a country, continues with filler words, and asks for the language of the country.
# The answer is one of ten languages, so chance is 10%.

# %%
options = {
    "distance": 16,
    "train_examples": 2000,
    "held_out_examples": 300,
    "batch_tokens": 1024,
}
data = sl.data.Recall(**options)
text, language = next(iter(data.examples("test")))
print(text, "→", language)
assert len(data.spec.target.labels) == 10

# %% [markdown]
# ## A comparison by hand
#
# The GRU is the network of our last project: it is 96 wide. The LSTM comes from an example on the
# web, in which it was 12 wide. Both get the same data, the same learning rate and the same number
# of epochs.


# %%
def by_hand(architecture, d_model, lr=3e-3, seed=0, **more):
    """Train a network; return its accuracy on the test split and its size."""
    L.seed_everything(seed, verbose=False)
    recipe = sl.Recipe(lr=lr, seed=seed)
    model = architecture(data.spec, d_model=d_model, recipe=recipe, **more)
    trainer = L.Trainer(
        max_epochs=6,
        accelerator="cpu",
        gradient_clip_val=1.0,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    (figures,) = trainer.test(model, data, verbose=False)
    trained = (p for p in model.parameters() if p.requires_grad)
    return figures["test/accuracy"], sum(p.numel() for p in trained)


gru, gru_size = by_hand(sl.GRU, 96)
lstm, lstm_size = by_hand(sl.LSTM, 12)
print(f"GRU   {gru:6.1%} right")
print(f"LSTM  {lstm:6.1%} right")
assert gru > lstm + 0.25

# %% [markdown]
# The conclusion seems clear: the GRU remembers the country, and the LSTM does not. It is wrong. We
# have compared a large network with a small one:

# %%
print(f"GRU  {gru_size:8,} parameters")
print(f"LSTM {lstm_size:8,} parameters")
assert gru_size > 20 * lstm_size

# %% [markdown]
# An equal width would not be fair either. At the same width, a layer of an LSTM has four pairs of
# matrices (for the input and for the state), one of a GRU three, one of a plain RNN one, and a
# feed-forward network has a matrix for each word of its window. What can be equal is the *number of
# parameters*, or the time of training.
#
# ## The same comparison at equal size
#
# `sl.compare` gets the data, the models and a number of parameters. It chooses the width of each
# model, trains each of them with each seed in a process of its own, and writes a report. We add a
# `FeedForward`, whose window is as long as the texts.
#
# A process imports the script that called `compare`. So this is a script, with the call inside
# `if __name__ == "__main__":`. In a notebook of your own you can call `sl.compare` in a cell.

# %%
SCRIPT = f"""
import seqlearn as sl

if __name__ == "__main__":
    recipe = sl.Recipe(lr=3e-3)
    comparison = sl.compare(
        sl.data.Recall(**{options}),
        [
            ("FeedForward", {{"window": 28, "recipe": recipe}}),
            ("GRU", {{"recipe": recipe}}),
            ("LSTM", {{"recipe": recipe}}),
        ],
        parameters=20_000,
        seeds=[0, 1],
        trainer={{"max_epochs": 6, "accelerator": "cpu"}},
        directory="equal",
        jobs=2,
        threads=1,
    )
    print(comparison)
"""
_ = (place / "equal.py").write_text(SCRIPT, encoding="utf-8")
done = subprocess.run(
    [sys.executable, "equal.py"],
    cwd=place,
    env=os.environ | {"PYTHONWARNINGS": "ignore"},
    stdout=subprocess.PIPE,
    encoding="utf-8",
    check=True,
)
print(done.stdout)

# %% [markdown]
# The report is in the folder: `report.html` for reading, with charts and with the activations of
# each model in the viewer, and `report.md` and `report.json` with the same figures. Python reads it
# with `Comparison.load`; `table` has one row for each model.

# %%
comparison = sl.Comparison.load(place / "equal")
table = {row["model"]: row for row in comparison.table()}
for name, row in table.items():
    print(f"{name:12} {row['parameters']:7,} {row['accuracy']:7.1%} right")

sizes = [row["parameters"] for row in table.values()]
assert max(sizes) < 1.05 * min(sizes)
assert table["LSTM"]["accuracy"] > table["GRU"]["accuracy"] + 0.15
assert table["FeedForward"]["accuracy"] > 0.98
assert gru > lstm + 0.25  # the opposite

# %% [markdown]
# At equal size the LSTM is ahead by far: the opposite of what we found by hand. That comparison has
# measured the width, not the architecture.
#
# ## Equal data
#
# All runs got the same batches in the same order; a seed changes only the initial weights and the
# random numbers of training, such as dropout. `compare` stores what it was called with, so that
# another run with other data in the same folder is an error instead of one more row.

# %%
content = comparison.content
print(content["data"]["text"])
print(content["settings"]["trainer"])
steps = {
    run["training"]["steps"]
    for model in content["models"]
    for run in model["runs"]
}
print("steps of each run:", steps)
assert len(steps) == 1

# %% [markdown]
# ## Several seeds
#
# What would we have concluded from one seed?

# %%
accuracies = {
    model["label"]: [run["figures"]["accuracy"] for run in model["runs"]]
    for model in content["models"]
}
for name, each in accuracies.items():
    row = table[name]
    interval = 100 * row["accuracy_interval"]
    print(
        f"{name:12} seeds: {each[0]:6.1%} {each[1]:6.1%}   "
        f"mean {row['accuracy']:6.1%} ± {interval:.1f} points"
    )

spread = max(max(each) - min(each) for each in accuracies.values())
assert spread > 0.02

# %% [markdown]
# Two runs of the *same* architecture differ by several points, although everything but the seed is
# equal. A difference of that size between two architectures, each trained once, means nothing.
#
# The interval is the one that contains the mean of many seeds with 95% confidence (Student's t).
# From two seeds it is wide, and those of GRU and LSTM overlap: two runs say little about the
# spread, so half the width is 12.7 times the standard error. (It may even reach beyond 100%, since
# the method knows nothing of that limit.) With four seeds it is 3.2 times. The same call with
# `seeds=[0, 1, 2, 3]` would train only the new runs. Here we train them by hand, with the widths of
# the report; that is the same training.
#
# In a comparison of your own, choose the number of seeds *before* you look at the result. Whoever
# adds seeds until the intervals are apart finds a difference sooner or later, also where there is
# none.

# %%
widths = {
    model["label"]: model["init_args"]["d_model"] for model in content["models"]
}
again, _ = by_hand(sl.GRU, widths["GRU"])
print(f"seed 0 of the GRU: {accuracies['GRU'][0]:.1%}, by hand {again:.1%}")
assert abs(again - accuracies["GRU"][0]) < 0.01

ends = {}
for name, architecture in {"GRU": sl.GRU, "LSTM": sl.LSTM}.items():
    more = [by_hand(architecture, widths[name], seed=s)[0] for s in (2, 3)]
    four = torch.tensor(accuracies[name] + more)
    mean, half = four.mean().item(), 3.18 * four.std().item() / 4**0.5
    print(f"{name:4} mean {mean:6.1%} ± {100 * half:.1f} points")
    accuracies[name], ends[name] = four.tolist(), (mean - half, mean + half)
assert ends["GRU"][1] < ends["LSTM"][0]

# %% [markdown]
# Now the intervals are apart: with the defaults of seqlearn, on this task, at this size and in this
# number of steps, the LSTM is better than the GRU.
#
# ## What else the report measures
#
# One figure at one distance does not say what a network has learned. The report tests the models at
# other distances than that of the training, if the data has distances; for other data, it reports
# the quality by length of the examples.


# %%
# | fig-alt: Share of right answers by distance: the feed-forward network is right only at the
# |   distance of its training; GRU and LSTM change gradually.
# | fig-cap: Accuracy by distance, mean of the seeds.
def mean_by_distance(model):
    """The mean of the right answers over the seeds, by distance."""
    found = {}
    for run in model["runs"]:
        for distance, share in run["memory"]["points"]:
            if isinstance(share, float):  # otherwise why it is missing
                found.setdefault(distance, []).append(share)
    return {distance: sum(each) / len(each) for distance, each in found.items()}


by_distance = {
    model["label"]: mean_by_distance(model) for model in content["models"]
}
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
for name, shares in by_distance.items():
    axes.plot(shares.keys(), shares.values(), "o-", label=name)
axes.axvline(16, color="0.7", linestyle=":", label="distance of the training")
axes.axhline(0.1, color="0.5", linestyle="--", linewidth=0.8, label="chance")
axes.set(
    xlabel="words between country and question",
    ylabel="right answers",
    ylim=(0, 1.05),
)
_ = axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# The feed-forward network is the best one at the distance of its training, and guesses at every
# other. It has a weight for each place of its window, and has learned at which place the country
# is; at another place it has never seen one. (At 30 words the text is longer than its window, so
# there is no point.) The recurrent networks apply the same weights at every step. What they have
# learned holds at distances near that of the training too, and less so at much shorter ones. Which
# network is better depends on the question, and the table with one figure does not show it.

# %%
fixed = by_distance["FeedForward"]
assert 30 not in fixed
assert fixed[16] > 0.98
assert max(fixed[distance] for distance in (0, 1, 3, 10)) < 0.25
gradual = by_distance["LSTM"]
assert min(gradual[distance] for distance in (10, 30)) > 0.5

# %% [markdown]
# *Why* is the GRU worse? The report has the norm of the gradient by distance, before and after
# training: how much does the loss depend on each word?

# %%
# | fig-alt: Norm of the gradient by steps before the last word, on a logarithmic axis, before and
# |   after training. Before, the curve of the GRU falls the fastest. After, both have a peak 19
# |   steps back.
# | fig-cap: Gradient by distance, before and after training.
curves = {}
for model in content["models"]:
    run = model["runs"][0]
    for when, key in (("before", "gradient_before"), ("after", "gradient")):
        norms = torch.tensor(run[key]["curve"])
        curves[f"{model['label']}, {when}"] = norms / norms.max()
figure = gradient_curves(
    {name: curve for name, curve in curves.items() if "Feed" not in name}
)
figure

# %% [markdown]
# Each curve is relative to its largest value. The country is 19 steps before the last word. Before
# training, the gradient at the country is far smaller in the GRU than in the LSTM. After training,
# both have a peak at 19 steps: they have found it. [Vanishing gradients](vanishing_gradients.md)
# and [LSTM and GRU](lstm_gru.md) explain both. The difference before training suggests why the GRU
# learns later; the next section tests it.

# %%
print("gradient at the country, relative to the largest of the text")
for name, curve in curves.items():
    print(f"  {name:20} {curve[19]:.1e}")
before = {
    name: curves[f"{name}, before"][19].item() for name in ("GRU", "LSTM")
}
assert before["LSTM"] > 30 * before["GRU"]
for name in ("GRU", "LSTM"):
    after = curves[f"{name}, after"]
    assert after[19] > 1.2 * max(after[17], after[21])

# %% [markdown]
# ## Equal initialization
#
# One thing was still unequal. The gates that keep the state of the LSTM start more open: its forget
# gates have a bias of 1 by default, the update gates of the GRU a bias of 0. We give the GRU the
# same bias.

# %%
opened = [
    by_hand(sl.GRU, widths["GRU"], seed=seed, update_bias=1.0)[0]
    for seed in (0, 1)
]
print(f"GRU, bias 0   {table['GRU']['accuracy']:6.1%} right")
print(f"GRU, bias 1   {sum(opened) / 2:6.1%} right")
print(f"LSTM, bias 1  {table['LSTM']['accuracy']:6.1%} right")
assert sum(opened) / 2 > table["GRU"]["accuracy"] + 0.3
assert sum(opened) / 2 > table["LSTM"]["accuracy"] - 0.1

# %% [markdown]
# Now the GRU is not behind (all three rows are means of seeds 0 and 1). So it was the initial bias
# that decided, and not the architecture. A default is a setting like the learning rate: what we
# measured before holds for two *classes with their defaults*, not for the GRU and the LSTM as such.
#
# ## Cost, and the four claims
#
# The report also has the time: CPU time of the training, and the time per token at several lengths,
# for which all models take turns in one process. Equal numbers of parameters do not mean equal
# time. Where time is what is scarce, `budget` (in minutes) gives each run the same CPU time instead
# of the same number of epochs.

# %%
for name, row in table.items():
    print(f"{name:12} {row['seconds']:5.1f} s of CPU time")

# %% [markdown]
# Finally, the report tests [four textbook claims](../claims.md) against these numbers, each by a
# rule that it states:


# %%
def sections(report):
    """The sections of a report in Markdown by their titles."""
    parts = report.split("\n## ")[1:]
    return {part.split("\n")[0]: part for part in parts}


report = sections(comparison.to_markdown())
for title, section in report.items():
    if title.endswith("?"):
        verdict = section.split("\n")[2].split("Rule:")[0]
        print(f"{title}\n  {verdict}\n")
assert "Not tested" in report["Bottleneck of one context vector?"]

# %% [markdown]
# The verdicts are about these models, this data and this machine. The claim about the context
# vector is *not tested*: here the answer is one class, so nothing passes from an encoder to a
# decoder. That is not the same as a claim that fails. The page on the claims has reports on larger
# data.
#
# ## Equal tuning
#
# Size, data, steps, seeds and initialization are equal; one thing is left. We chose the learning
# rate, `3e-3`, for the recurrent networks. What if somebody had tried only another one, for the
# LSTM?

# %%
untuned, _ = by_hand(sl.LSTM, widths["LSTM"], lr=3e-4)
print(f"LSTM, learning rate 3e-3  {table['LSTM']['accuracy']:6.1%} right")
print(f"LSTM, learning rate 3e-4  {untuned:6.1%} right")
print(f"GRU,  learning rate 3e-3  {table['GRU']['accuracy']:6.1%} right")
assert untuned < table["LSTM"]["accuracy"] - 0.5

# %% [markdown]
# The same network, with the same number of parameters, is close to chance in the same number of
# steps. A new architecture that was tuned for weeks easily beats a baseline that nobody has tuned.
# Give each architecture the same number of trials, choose by the *validation*
# split, and measure the chosen one once on the test split.
# [Model selection](../model-selection.md) has a search in a few lines.
#
# ## A checklist
#
# | what | how `compare` makes it equal | what is left to you |
# |---|---|---|
# | parameters | `parameters=` | or time: `budget=` |
# | data and batches | one data module | a test split that nothing was tuned on |
# | steps | `max_epochs`, or `budget=` | long enough for the slowest |
# | seeds | `seeds=[0, 1, 2, …]` | as many as you can afford |
# | initialization | not at all: each class has its defaults | the same biases of gates |
# | tuning | not at all: the defaults, or what you give | the same number of trials for each |
#
# ## Exercises
#
# **1.** How many parameters do the three networks have at the same width of 48?
#
# <details markdown>
# <summary>Solution</summary>

# %%
at_equal_width = {
    "FeedForward": sl.FeedForward(data.spec, d_model=48, window=28),
    "GRU": sl.GRU(data.spec, d_model=48),
    "LSTM": sl.LSTM(data.spec, d_model=48),
}
counts = {}
for name, model in at_equal_width.items():
    counts[name] = sum(p.numel() for p in model.parameters())
    print(f"{name:12} {counts[name]:7,}")
assert counts["GRU"] < counts["LSTM"] < counts["FeedForward"]

# %% [markdown]
# The feed-forward network has the most, and its number grows with the window. (`compare` counts
# only the parameters that a task trains; a classifier has no decoder.)
#
# </details>
#
# **2.** How many steps could the feed-forward network make in the CPU time of the GRU?
#
# <details markdown>
# <summary>Solution</summary>

# %%
(number,) = steps
possible = number * table["GRU"]["seconds"] / table["FeedForward"]["seconds"]
print(f"{possible:.0f} instead of {number}")

# %% [markdown]
# At an equal *time* it would get more training than at equal epochs. Neither is the right budget
# for all purposes; state which one you used.
#
# </details>
#
# **3.** Compare the GRU with itself: if each side has one of its four seeds, how often is the
# difference larger than two points?
#
# <details markdown>
# <summary>Solution</summary>

# %%
pairs = list(itertools.combinations(accuracies["GRU"], 2))
apart = sum(abs(a - b) > 0.02 for a, b in pairs)
print(*(f"{each:.1%}" for each in sorted(accuracies["GRU"])))
print(f"{apart} of {len(pairs)} pairs differ by more than two points")
assert apart >= len(pairs) / 2

# %% [markdown]
# An architecture compared with itself must show no difference. Where it does, the comparison
# measures something else: here the seed. Such an A/A test is the cheapest check of a comparison.
#
# </details>
#
# ## Next
#
# [The guide to `seqlearn compare`](../compare.md) describes all options of it and of `sl.compare`,
# and what happens when a run fails. [How do I choose?](../choosing.md) has measured answers for
# several kinds of data.
