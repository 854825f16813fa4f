# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Recurrent networks and the three shapes
#
# **Claim.** A recurrent network carries a state through time. With the same weights at every step
# it takes any length, and one architecture serves sequence → vector, vector → sequence and
# sequence → sequence. But it learns what stands near and hardly what stands far: the gradient
# vanishes with distance. And it is slow, one step after another.
#
# In this tutorial we unroll the network of Elman (1990) by hand, train it on written-out dates in
# all three shapes, and measure the gradient and the time. It takes about a minute on two cores and
# downloads nothing.

# %%
import logging
import time
import warnings
from collections import Counter

import lightning as L
import torch
from matplotlib import pyplot as plt

import seqlearn as sl
from seqlearn.nn import RecurrentLayer, rnn_step

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## The state, step by step
#
# At each step the network reads one input $x_t$ and its own last state $h_{t-1}$, and makes a new
# state: $h_t = \tanh(W x_t + U h_{t-1} + b)$. Unrolled by hand that is a loop. The layer runs it
# in one call of torch's kernel.

# %%
layer = RecurrentLayer("rnn", 8, 8)  # widths of input and state
W, U = layer.kernel.weight_ih_l0, layer.kernel.weight_hh_l0
b, b_state = layer.kernel.bias_ih_l0, layer.kernel.bias_hh_l0
inputs = torch.randn(1, 5, 8)  # batch time width

state = torch.zeros(1, 8)
for t in range(5):
    state = rnn_step(inputs[:, t] @ W.T + b, state @ U.T + b_state).hidden
    print(f"h_{t + 1} begins with", [round(value, 2) for value in state[0, :4].tolist()])

states, (last,) = layer(inputs)
print("equal to the layer:", torch.allclose(state, last, atol=1e-6))

# %% [markdown]
# ## Any length
#
# No weight belongs to a place, as it did in the [feed-forward network](feedforward.md). The same
# layer reads one vector or a thousand, and the state after them has the same size:

# %%
print(f"{sum(p.numel() for p in layer.parameters())} parameters")
for length in (1, 10, 1000):
    _, (last,) = layer(torch.randn(1, length, 8))
    print(f"{length:5} inputs -> a state of {last.shape[1]} numbers")

# %% [markdown]
# ## The three shapes
#
# `Dates` comes in all three. *Sequence → vector*: in which language is a date written? *Vector →
# sequence*: write the date that 90 numbers stand for. *Sequence → sequence*: translate a date.
#
# `sl.RNN` is an encoder and a decoder. The encoder's last state becomes one vector, the *context*.
# From sequence to vector, the class is read from it; towards a sequence, the decoder's state
# begins with it. Which halves are used is the spec's matter: the same line makes all three models.

# %%
shapes = ("sequence-to-vector", "vector-to-sequence", "sequence-to-sequence")
data = {shape: sl.data.Dates("en", "de", shape=shape, batch_tokens=4096) for shape in shapes}
for shape in shapes:
    source, target = next(iter(data[shape].examples("test")))
    source = source if isinstance(source, str) else f"{len(source)} numbers"
    print(f"{shape:20}  {source}  ->  {target}")


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
for shape, epochs in zip(shapes, (4, 2, 2), strict=True):
    models[shape] = trained(sl.RNN(data[shape].spec, **settings), data[shape], epochs)

# %% [markdown]
# The language is recognised after a short training, for its marks are everywhere in the text:

# %%
texts, languages = zip(*data["sequence-to-vector"].examples("test"), strict=True)
answers, _ = models["sequence-to-vector"].classify(texts)
right = sum(answer == language for answer, language in zip(answers, languages, strict=True))
print(f"languages recognised: {right / len(texts):.1%} (chance: one in {len(set(languages))})")

# %% [markdown]
# What is written looks like a date. Is it the right one?

# %%
written = {}
for shape in shapes[1:]:
    sources, targets = zip(*data[shape].examples("test"), strict=True)
    written[shape] = models[shape].generate(sources)
    print(shape)
    for target, answer in list(zip(targets, written[shape], strict=True))[:3]:
        print(f"    {answer:30} right: {target}")

# %% [markdown]
# Played back, from the model that was just trained: the network rolled out in time. Press play, or
# step with the arrow keys. At each step the state (its numbers as colours) is made from the token
# that is read and the state before.

# %%
model = models["sequence-to-sequence"]
with sl.record(model) as recording:
    model.generate(sources[:1])
recording

# %% [markdown]
# ## How far it gets
#
# The answer has four parts, in this order: weekday, day, month, year. We count each. Beside the two
# models stands a third, `bidirectional=True`: its encoder has a second layer that reads from right
# to left (Schuster & Paliwal 1997), and so ends at the *first* characters of the source. A guess
# here is the part that occurs most often, whatever the source.

# %%
both_ways = sl.RNN(data["sequence-to-sequence"].spec, bidirectional=True, **settings)
models["both ways"] = trained(both_ways, data["sequence-to-sequence"], epochs=2)
written["both ways"] = both_ways.generate(sources)

parts = ["weekday", "day", "month", "year"]
columns = list(zip(*(target.split() for target in targets), strict=True))  # one for each part
guess = [Counter(column).most_common(1)[0][1] / len(targets) for column in columns]


def shares_right(answers):
    """Of each part, and of whole dates, the share that is right."""
    rows = [(a.split() + [""] * 4, t.split()) for a, t in zip(answers, targets, strict=True)]
    right = [sum(a[i] == t[i] for a, t in rows) / len(rows) for i in range(4)]
    return right, sum(a[:4] == t for a, t in rows) / len(rows)


print(f"{'':20}", *(f"{part:>9}" for part in parts), "   whole dates")
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
for place, (name, answers) in enumerate(written.items()):
    right, whole = shares_right(answers)
    print(f"{name:20}", *(f"{share:9.1%}" for share in right), f"{whole:14.1%}")
    axes.bar([i + 0.27 * (place - 1) for i in range(4)], right, 0.25, label=name)
print(f"{'guess':20}", *(f"{share:9.1%}" for share in guess))
for i, share in enumerate(guess):
    axes.hlines(share, i - 0.42, i + 0.42, "black", "dashed", label="" if i else "guess")
axes.set_xticks(range(4), parts)
axes.set(ylabel="share right", ylim=(0, 1.05))
_ = axes.legend()

# %% [markdown]
# From a vector, the weekday is learned: it is the first thing written, one step from the context.
# Day, month and year are written later, and are guessed. Six epochs instead of two do not change
# this picture.
#
# From a sequence, not even the weekday is learned. In English it is the first word, a dozen steps
# or more from the encoder's end. Read from right to left it stands at the end, and is learned.
# What decides is the *distance* between a fact and the place where it is needed. (Sutskever et al.
# 2014 reversed their sources for this reason.)
#
# ## The gradient vanishes
#
# Training must find out which input to blame. What it follows is the gradient of the last state
# with respect to each input. At every step back it is multiplied by $U^\top$ and by the slope
# of tanh, which is at most one. So over $k$ steps it shrinks like a number below one to the power
# of $k$, or grows like one above (Bengio et al. 1994). `U` starts as a rotation, which keeps every
# length; we also scale it up and down.

# %%
length, width = 60, 64
inputs = torch.randn(32, length, width, dtype=torch.float64, requires_grad=True)
direction = torch.randn(width, dtype=torch.float64)

figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
for factor in (0.5, 1, 2, 4):
    layer = RecurrentLayer("rnn", width, width).double()
    with torch.no_grad():
        layer.kernel.weight_hh_l0 *= factor
    _, (last,) = layer(inputs)
    (gradient,) = torch.autograd.grad((last @ direction).sum(), inputs)
    sizes = gradient.norm(dim=-1).mean(0).flip(0)  # the last input first
    print(f"U × {factor:3}: 10 steps back {sizes[10]:.0e}, 50 steps back {sizes[50]:.0e}")
    axes.plot(sizes, label=f"U × {factor}")
axes.set(yscale="log", xlabel="distance from the last state (steps)", ylabel="size of the gradient")
_ = axes.legend()

# %% [markdown]
# On this logarithmic axis an exponential is a straight line. As the network starts (`U × 1`), it
# loses the gradient within a few dozen steps. A larger `U` is no cure: four times as large, the
# gradient explodes. In between lies an edge, but where it lies depends on the inputs too, through
# the slope of tanh, and each step of training moves it.
#
# The same is seen in the two trained encoders. How much does the context depend on each
# character of a date?

# %%
text = "Sunday, November 22, 2026"
ids = torch.tensor(both_ways.spec.source.encode([text]))
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for name in ("sequence-to-sequence", "both ways"):
    embedded = models[name].source_embedding(ids).detach().requires_grad_()
    summary = models[name].encoder(embedded, torch.ones_like(ids, dtype=torch.bool)).summary
    (gradient,) = torch.autograd.grad((summary @ direction.float()).sum(), embedded)
    axes.plot(gradient[0].norm(dim=-1), "o-", label=name)
axes.set_xticks(range(len(text)), list(text.replace(" ", "␣")))
axes.set(yscale="log", xlabel="source, character by character", ylabel="size of the gradient")
_ = axes.legend()

# %% [markdown]
# ## One step after another
#
# Step $t$ needs the state of step $t - 1$, so no two steps can run at the same time. A layer
# without recurrence takes all positions in one product of matrices. We time both at the same width.

# %%
layer, linear = RecurrentLayer("rnn", 256, 256), torch.nn.Linear(256, 256)


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
        recurrent, parallel = microseconds(layer, inputs), microseconds(linear, inputs)
        print(
            f"length {length:5}: recurrent {recurrent / length:7.2f}, "
            f"all at once {parallel / length:7.2f}"
        )

# %% [markdown]
# All at once, a token becomes cheaper the more there are. In the recurrent layer that ends as soon
# as the call itself no longer counts: then each token costs a step, and the time grows with the
# length. Many examples can run side by side; the steps of one cannot. On hardware that does
# thousands of things at once the gap is far wider than here.
#
# ## What comes next
#
# The state has room, and the loop takes any length. What is missing is a path through time that
# neither shrinks nor blows up what passes along it. That is what the gates of
# [LSTM and GRU](lstm_gru.md) are for.
