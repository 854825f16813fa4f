# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Recurrent networks and three tasks
#
# **Claim.** A recurrent network carries a state through time. With the same weights at every step
# it takes sequences of any length, and one architecture serves sequence → vector, vector → sequence
# and sequence → sequence. It learns short-range dependencies well and long-range ones hardly,
# because the gradient vanishes with distance. And it is slow, because its steps are sequential.
#
# This tutorial unrolls the network of Elman (1990) by hand, trains it on written-out dates in all
# three tasks, and measures the gradient and the computing time. It takes one to two minutes on
# two cores and downloads nothing.

# %%
import logging
import re
import time
import warnings
from collections import Counter

import lightning as L
import torch
from matplotlib import pyplot as plt

import seqlearn as sl
from seqlearn.introspect import DETAILED
from seqlearn.nn import RNNLayer, rnn_step

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## The state, step by step
#
# At each step the network computes a new state from the input $x_t$ and its previous state
# $h_{t-1}$: $h_t = \tanh(W x_t + U h_{t-1} + b)$. Unrolled by hand, this is a loop. The layer
# computes it in one call of PyTorch's kernel.

# %%
layer = RNNLayer(8, 8)  # widths of input and state
W, U = layer.kernel.weight_ih_l0, layer.kernel.weight_hh_l0
b, b_state = layer.kernel.bias_ih_l0, layer.kernel.bias_hh_l0
inputs = torch.randn(1, 5, 8)  # batch time width

state = torch.zeros(1, 8)
for t in range(5):
    state = rnn_step(inputs[:, t] @ W.T + b, state @ U.T + b_state).hidden
    print(
        f"h_{t + 1} begins with",
        [round(value, 2) for value in state[0, :4].tolist()],
    )

states, (last,) = layer(inputs)
print("equal to the layer:", torch.allclose(state, last, atol=1e-6))
assert torch.allclose(state, last, atol=1e-6)

# %% [markdown]
# ## Any length
#
# No weight belongs to a position, unlike in the [feed-forward network](feedforward.md). The same
# layer takes one vector or a thousand, and the final state always has the same size:

# %%
print(f"{sum(p.numel() for p in layer.parameters())} parameters")
for length in (1, 10, 1000):
    _, (last,) = layer(torch.randn(1, length, 8))
    print(f"{length:5} inputs -> a state of {last.shape[1]} numbers")
    assert last.shape == (1, 8)

# %% [markdown]
# ## Three tasks
#
# `Dates` has all three. *Sequence → vector*: in which language is a date written? *Vector →
# sequence*: write out a date that is given as 90 numbers. *Sequence → sequence*: translate a date.
#
# `sl.RNN` consists of an encoder and a decoder. The last state of the encoder becomes one vector,
# the [context vector](../glossary.md#context-vector). For a vector target the class is predicted
# from it; for a sequence target it becomes the initial state of the decoder. The spec determines
# which parts are used, so the same line creates all three models.

# %%
tasks = ("sequence-to-vector", "vector-to-sequence", "sequence-to-sequence")
data = {
    task: sl.data.Dates("en", "de", task=task, batch_tokens=4096)
    for task in tasks
}
for task in tasks:
    source, target = next(iter(data[task].examples("test")))
    source = source if isinstance(source, str) else f"{len(source)} numbers"
    print(f"{task:20}  {source}  ->  {target}")


# %%
def trained(model, data, epochs):
    """Train a model for a few epochs."""
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    return model.eval()


recipe = sl.Recipe(lr=3e-3, warmup_steps=50, schedule="cosine")
settings = {"d_model": 64, "dropout": 0.0, "recipe": recipe}
models = {}
for task, epochs in zip(tasks, (4, 2, 2), strict=True):
    models[task] = trained(
        sl.RNN(data[task].spec, **settings), data[task], epochs
    )

# %% [markdown]
# The language is recognized after a short training, because every part of the text shows it:

# %%
texts, languages = zip(
    *data["sequence-to-vector"].examples("test"), strict=True
)
predictions, _ = models["sequence-to-vector"].classify(texts)
right = sum(
    prediction == language
    for prediction, language in zip(predictions, languages, strict=True)
)
print(
    f"languages recognized: {right / len(texts):.1%} "
    f"(chance: one in {len(set(languages))})"
)
assert right / len(texts) > 0.95

# %% [markdown]
# The viewer shows this model, unrolled in time, as it reads one text. Press play, or step with the
# arrow keys. At each step the state (its elements as colors) is computed from the current token and
# the previous state.

# %%
text = next(
    text
    for text, prediction, language in zip(
        texts, predictions, languages, strict=True
    )
    if prediction == language
)
with sl.record(models["sequence-to-vector"], what=DETAILED) as recording:
    models["sequence-to-vector"].classify([text])
recording.view(opens="unrolled_rnn", title=f"An RNN reads {text!r}")

# %% [markdown]
# How a step computes the state is seen inside the cell: $W x$ from the token, $U h$ from the
# previous state, and the bias are added, and $\tanh$ makes the new state of the sum. (`DETAILED`
# records these parts; by default only the states are recorded.)

# %%
recording.view(opens="rnn_cell", title="Inside the cell of an RNN")

# %% [markdown]
# The generated texts look like dates. Are they the right ones?

# %%
generated = {}
for task in tasks[1:]:
    sources, targets = zip(*data[task].examples("test"), strict=True)
    generated[task] = models[task].generate(sources)
    print(task)
    pairs = list(zip(targets, generated[task], strict=True))
    for target, prediction in pairs[:3]:
        print(f"    {prediction:30} target: {target}")
    date = re.compile(r"\w+, \d+\. \w+ \d{4}")
    like_dates = sum(bool(date.fullmatch(text)) for text in generated[task])
    assert like_dates > 0.95 * len(targets)

# %% [markdown]
# ## Accuracy by position
#
# The output has four parts, in this order: weekday, day, month, year. We measure the accuracy of
# each. A third model is added, with `bidirectional=True`: its encoder has a second layer that reads
# from right to left (Schuster & Paliwal 1997) and therefore ends at the *first* characters of the
# source. *Guess* is the accuracy of always predicting the most frequent value.

# %%
# | fig-alt: Bar chart of the accuracy of weekday, day, month and year for three tasks, with the
# |   accuracy of always guessing the most frequent value as dashed lines.
# | fig-cap: Accuracy of each part of the date.
both_ways = sl.RNN(
    data["sequence-to-sequence"].spec, bidirectional=True, **settings
)
models["both ways"] = trained(both_ways, data["sequence-to-sequence"], epochs=2)
generated["both ways"] = both_ways.generate(sources)

parts = ["weekday", "day", "month", "year"]
# One column for each part
columns = list(zip(*(target.split() for target in targets), strict=True))
guess = [
    Counter(column).most_common(1)[0][1] / len(targets) for column in columns
]


def accuracy_by_part(predictions):
    """Of each part, and of whole dates, the share that is right."""
    rows = [
        (a.split() + [""] * 4, t.split())
        for a, t in zip(predictions, targets, strict=True)
    ]
    right = [sum(a[i] == t[i] for a, t in rows) / len(rows) for i in range(4)]
    return right, sum(a[:4] == t for a, t in rows) / len(rows)


shares = {name: accuracy_by_part(found) for name, found in generated.items()}
print(f"{'':20}", *(f"{part:>9}" for part in parts), "   whole dates")
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for offset, (name, (right, whole)) in enumerate(shares.items(), -1):
    print(f"{name:20}", *(f"{share:9.1%}" for share in right), f"{whole:14.1%}")
    axes.bar([i + 0.27 * offset for i in range(4)], right, 0.25, label=name)
print(f"{'guess':20}", *(f"{share:9.1%}" for share in guess))
for i, share in enumerate(guess):
    axes.hlines(
        share, i - 0.42, i + 0.42, "0.5", "dashed", label="" if i else "guess"
    )
axes.set_xticks(range(4), parts)
axes.set(ylabel="accuracy", ylim=(0, 1.05))
_ = axes.legend()

for name, (right, whole) in shares.items():
    assert (right[0] < 0.4) == (name == "sequence-to-sequence")  # weekday
    assert right[0] < 0.4 or right[0] > 0.9
    assert max(a - b for a, b in zip(right[1:], guess[1:], strict=True)) < 0.1
    assert whole < 0.05
assert min(len(source) - source.index(",") for source in sources) >= 10

# %% [markdown]
# Vector → sequence: the weekday is learned. It is generated first, one step after the context
# vector. Day, month and year are generated later, and are guessed.
#
# Sequence → sequence: not even the weekday is learned. In English it is the first word, ten or more
# steps before the end of the encoder. Read from right to left it is at the end, and is
# learned. What matters is the *distance* between a fact and the position that needs it. (Sutskever
# et al. 2014 reversed their sources for this reason.)
#
# ## The vanishing gradient
#
# Training has to find out which input caused an error. It uses the gradient of the last state with
# respect to each input. At every step back this gradient is multiplied by $U^\top$ and by the
# derivative of tanh, which is at most one. Over $k$ steps it therefore shrinks or grows like the
# $k$-th power of a number (Bengio et al. 1994). `U` is initialized as a rotation, which preserves
# lengths; we also scale it up and down.

# %%
# | fig-alt: Size of the gradient by distance from the last state, on a logarithmic axis, for U
# |   scaled by 0.5, 1, 2 and 4.
# | fig-cap: Gradient by distance for four scales of U.
length, width = 60, 64
inputs = torch.randn(32, length, width, dtype=torch.float64, requires_grad=True)
direction = torch.randn(width, dtype=torch.float64)

by_factor = {}
figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for factor in (0.5, 1, 2, 4):
    layer = RNNLayer(width, width).double()
    with torch.no_grad():
        layer.kernel.weight_hh_l0 *= factor
    _, (last,) = layer(inputs)
    (gradient,) = torch.autograd.grad((last @ direction).sum(), inputs)
    sizes = gradient.norm(dim=-1).mean(0).flip(0)  # the last input first
    by_factor[factor] = sizes
    print(f"U × {factor:3}: 10 steps back {sizes[10]:.0e}, 50 {sizes[50]:.0e}")
    axes.plot(sizes, label=f"U × {factor}")
axes.set(
    yscale="log",
    xlabel="distance from the last state (steps)",
    ylabel="size of the gradient",
)
_ = axes.legend()

assert by_factor[1][30] < 0.01 * by_factor[1][0]  # within a few dozen steps
assert by_factor[0.5][50] < by_factor[1][50] < 1e-4 * by_factor[1][0]
assert by_factor[4][50] > 1e4 * by_factor[4][10]
for factor in (0.5, 1, 4):
    points = torch.stack(
        [torch.arange(length).double(), by_factor[factor].log()]
    )
    assert points.corrcoef()[0, 1].abs() > 0.98  # a straight line

# %% [markdown]
# On a logarithmic axis an exponential is a straight line, and so are these curves. With its initial
# weights (`U × 1`), the network loses the gradient within a few dozen steps. A larger `U` is not a
# solution: four times as large, the gradient explodes. There is a boundary in between, but its
# position depends on the inputs too, through the derivative of tanh, and each training step moves
# it.
#
# The two trained encoders show the same. How much does the context vector depend on each character
# of a date?

# %%
# | fig-alt: Size of the gradient at each character of a date, on a logarithmic axis, for an
# |   encoder that reads from left to right and for one that reads both ways.
# | fig-cap: Gradient at each character of the source, one and two directions.
text = "Sunday, November 22, 2026"
ids = torch.tensor(both_ways.spec.source.encode([text]))
reached = {}
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for name in ("sequence-to-sequence", "both ways"):
    embedded = models[name].source_embedding(ids).detach().requires_grad_()
    real = torch.ones_like(ids, dtype=torch.bool)
    pooled = models[name].encoder(embedded, real).pooled
    (gradient,) = torch.autograd.grad(
        (pooled @ direction.float()).sum(), embedded
    )
    sizes = gradient[0].norm(dim=-1)
    reached[name] = sizes
    axes.plot(sizes, "o-", label=name)
axes.set_xticks(range(len(text)), list(text.replace(" ", "␣")))
axes.set(
    yscale="log",
    xlabel="source, character by character",
    ylabel="size of the gradient",
)
_ = axes.legend()

one_way, two_ways = reached["sequence-to-sequence"], reached["both ways"]
assert one_way[0] < 0.01 * one_way[-1]
assert two_ways[0] > 0.1 * two_ways[-1]
assert two_ways[8:-4].min() < 0.1 * min(two_ways[0], two_ways[-1])

# %% [markdown]
# The encoder that reads from left to right hardly depends on the weekday, the first word. The one
# that reads both ways depends on both ends, and least on what lies between them.
#
# ## Sequential computation
#
# Step $t$ needs the state of step $t - 1$, so no two steps can run at the same time. A layer
# without recurrence computes all positions in one matrix product. We time both at the same width.

# %%
layer, linear = RNNLayer(256, 256), torch.nn.Linear(256, 256)


def microseconds(module, inputs):
    """CPU time, the best of twenty runs."""
    best = float("inf")
    for _ in range(20):
        started = time.process_time()
        module(inputs)
        best = min(best, time.process_time() - started)
    return best * 1e6


with torch.no_grad():
    print("CPU time per token in microseconds")
    for length in (1, 10, 100, 1000):
        inputs = torch.randn(1, length, 256)
        recurrent = microseconds(layer, inputs)
        parallel = microseconds(linear, inputs)
        print(
            f"length {length:5}: recurrent {recurrent / length:7.2f}, "
            f"all at once {parallel / length:7.2f}"
        )

# %% [markdown]
# In the parallel layer, the cost per token falls with the number of tokens. In the recurrent layer
# this stops as soon as the overhead of the call no longer matters: each further token costs one
# step, and the time grows with the length. Many examples can be computed in parallel, but not the
# steps of one example. On hardware with thousands of parallel units the difference is larger.
#
# ## Exercises
#
# **1.** How many parameters does a layer with inputs of width $n$ and a state of width $m$ have?
# Derive the number from the equation and compare it with `RNNLayer(5, 7)`. Where does the
# difference come from?
#
# <details markdown>
# <summary>Solution</summary>

# %%
n, m = 5, 7
count = sum(p.numel() for p in RNNLayer(n, m).parameters())
print(f"{count} parameters; W and U have {m * n + m * m}, b has {m}")
assert count == m * n + m * m + 2 * m

# %% [markdown]
# $W$ has $m \times n$ numbers, $U$ has $m \times m$ and $b$ has $m$. PyTorch's kernel has a second
# bias, which is added to $U h_{t-1}$. It makes the layer no more expressive, because only the sum
# of the two biases enters the equation.
#
# </details>
#
# **2.** Is there a scale of `U` between 1 and 4 at which the gradient neither vanishes nor explodes
# over 50 steps? Find it by bisection, then multiply the *inputs* by three. What follows?
#
# <details markdown>
# <summary>Solution</summary>


# %%
def ratio(factor, inputs):
    """The gradient 50 steps back, relative to that of the last input."""
    torch.manual_seed(0)
    layer = RNNLayer(width, width).double()
    with torch.no_grad():
        layer.kernel.weight_hh_l0 *= factor
    _, (last,) = layer(inputs)
    (gradient,) = torch.autograd.grad((last @ direction).sum(), inputs)
    sizes = gradient.norm(dim=-1).mean(0)
    return float(sizes[-51] / sizes[-1])


inputs = torch.randn(32, length, width, dtype=torch.float64, requires_grad=True)
low, high = 1.0, 4.0
for _ in range(12):
    middle = (low + high) / 2
    low, high = (middle, high) if ratio(middle, inputs) < 1 else (low, middle)
three_times = (3 * inputs.detach()).requires_grad_()
print(f"U × {low:.2f}: {ratio(low, inputs):.2f} of the gradient is left")
print(f"inputs × 3: {ratio(low, three_times):.0e} is left")
assert 0.5 < ratio(low, inputs) < 2
assert ratio(low, three_times) < 0.01

# %% [markdown]
# There is, but only for these inputs. Larger inputs bring tanh into its flat range, its derivative
# falls, and the gradient vanishes again. No fixed `U` is right for all inputs.
#
# </details>
#
# **3.** Sutskever et al. (2014) reversed their sources. Train the model that reads from left to
# right on reversed English dates. Which part of the date does it learn now, and why not the others?
#
# <details markdown>
# <summary>Solution</summary>

# %%
straight = data["sequence-to-sequence"]
backwards = {
    split: [(source[::-1], t) for source, t in straight.examples(split)]
    for split in ("train", "val", "test")
}
letters = sl.data.Text("char")
reversed_data = sl.data.TextPairs(
    *backwards.values(), letters, letters, batch_tokens=4096
)
model = trained(sl.RNN(reversed_data.spec, **settings), reversed_data, epochs=2)
sources, targets = zip(*backwards["test"], strict=True)
right, _ = accuracy_by_part(model.generate(sources))
print(
    "  ".join(f"{p} {share:.1%}" for p, share in zip(parts, right, strict=True))
)
assert right[0] > 0.9
assert max(right[1], right[3]) < 0.2

# %% [markdown]
# The weekday: the encoder now reads its letters last, and the decoder generates it first. Day and
# year are read before the weekday and generated after it, so their distance is still too long.
#
# </details>
#
# ## Next
#
# The state has enough capacity, and the recurrence takes any length. What is missing is a path
# through time on which values neither shrink nor grow. The gates of [LSTM and GRU](lstm_gru.md)
# provide one.
