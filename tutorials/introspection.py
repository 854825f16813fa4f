# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Introspection
#
# **Claim.** What a trained model computes can be recorded exactly: attention weights, states and
# gates of every step. Recording changes no bit of the output. It also works with models from other
# libraries.
#
# This tutorial trains one model, records it, measures what was recorded, shows it in the viewer,
# and records a model that is not part of seqlearn. It takes about a minute on two cores and
# downloads nothing.

# %%
import logging
import math
import tempfile
import warnings
from pathlib import Path

import lightning as L
import torch

import seqlearn as sl
from seqlearn.introspect import gate_saturation, hard_alignment, head_entropy

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## During training: callbacks
#
# A callback runs the model on a few fixed examples at intervals, without affecting the training.
# There are four: `AttentionMonitor` draws attention weights, `StateMonitor` states and gates,
# `GradientFlow` [how far back gradients reach](vanishing_gradients.md), and `SampleLogger` writes
# predictions. They log to any logger that accepts figures or text, and otherwise to files.

# %%
data = sl.data.Dates("en", "de", batch_tokens=2048)
model = sl.AttentionSeq2Seq(
    data.spec,
    d_model=96,
    recipe=sl.Recipe(lr=3e-3, warmup_steps=50, schedule="cosine"),
)
logs = tempfile.TemporaryDirectory()
trainer = L.Trainer(
    max_epochs=2,
    accelerator="cpu",
    gradient_clip_val=1.0,
    logger=False,
    default_root_dir=logs.name,
    callbacks=[
        sl.callbacks.AttentionMonitor(),
        sl.callbacks.StateMonitor(),
        sl.callbacks.SampleLogger(),
    ],
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, data)
for path in sorted(Path(logs.name).rglob("*.*")):
    print(path.relative_to(logs.name))

written = [str(path) for path in Path(logs.name).rglob("*.*")]
for kind in ("attention", "state", "sample"):
    assert any(kind in path for path in written), kind

# %% [markdown]
# The output of `SampleLogger` after the last epoch:

# %%
samples = sorted(
    path
    for path in Path(logs.name).rglob("*")
    if path.suffix in (".md", ".txt")
)
print(samples[-1].read_text(encoding="utf-8"))

# %% [markdown]
# ## After training: recordings
#
# `sl.record` captures activations while its block runs. A recording holds attention weights, states
# and gates by module name, with one row per example, and the tokens of each example.

# %%
dates = [str(source) for source, _ in data.examples("test")][:50]
with sl.record(model.eval()) as recording:
    outputs = model.generate(dates)
print(dates[0], "→", outputs[0])
for kind in ("attention", "states", "gates"):
    print(kind, list(getattr(recording, kind)))
    assert getattr(recording, kind)

# %% [markdown]
# The output is the same as without a recording, to the last bit of the loss:

# %%
data.setup("test")
batch = next(iter(data.test_dataloader()))
with torch.no_grad():
    plain = model.compute_loss(batch).loss
    with sl.record(model):
        recorded = model.compute_loss(batch).loss
print("same bits:", torch.equal(plain, recorded))
assert torch.equal(plain, recorded)
assert model.generate(dates) == outputs

# %%
# | fig-alt: Heat map of the attention weights: one row for each generated character, one column
# |   for each character of the source.
# | fig-cap: Attention weights of one example.
recording.plot("decoder.attentional_hidden.attention")

# %% [markdown]
# The fast kernel does not store the gates. They are computed in addition, from its inputs and
# outputs. This can be verified: the state of an LSTM is its output gate times the tanh of its cell.

# %%
layer = "decoder.recurrence.layers.0"
gates, states = recording.gates[layer], recording.states[layer]
print(", ".join(f"{name} {tuple(gate.shape)}" for name, gate in gates.items()))
steps = recording.mask("target")
difference = (
    (gates["output"] * gates["cell"].tanh() - states)[steps].abs().max()
)
print(f"maximum difference from the states: {difference:.0e}")
assert difference < 1e-5

# %%
# | fig-alt: Heat maps of the gates of one LSTM layer: one column for each step, one row for each
# |   unit.
# | fig-cap: Gates of one layer, step by step.
recording.plot(layer)

# %% [markdown]
# ## Measures
#
# A picture shows one example, a measure summarizes many. How sharp is the attention? How often is a
# gate closed or open? And is the attention where it should be: on the month, when the model
# generates the name of the month?

# %%
name = "decoder.attentional_hidden.attention"
weights = recording.attention[name]
(nats,) = head_entropy(weights, recording.queries(name)).tolist()
print(
    f"entropy {nats:.2f} nats: equal to uniform attention over "
    f"{math.exp(nats):.1f} characters"
)
assert 0 < nats < math.log(min(map(len, dates)))
for gate in ("input", "forget", "output"):
    closed, opened = gate_saturation(gates[gate], steps)
    print(f"{gate:7} closed {closed.mean():5.1%}, open {opened.mean():5.1%}")

on_month = next_to_month = 0
keys = hard_alignment(weights)[:, 0]
for row, (date, output) in enumerate(zip(dates, outputs, strict=True)):
    start = date.index(", ") + 2  # "Sunday, November 22" or "Sun, 11/22"
    month = range(start, start + len(date[start:].replace("/", " ").split()[0]))
    step = output.find(". ") + 2  # "22. November"
    key = int(keys[row, step])
    on_month += key in month
    next_to_month += key in (month.start - 1, month.stop)
print(
    "first letter of the month: "
    f"attention on the month {on_month / len(dates):.0%},"
)
print(f"on the character next to it {next_to_month / len(dates):.0%}")
assert on_month + next_to_month > 0.5 * len(dates)

# %% [markdown]
# Attention next to the month is not an error: the encoder is bidirectional, so the state at a comma
# or a slash contains information about the adjacent month.

# %% [markdown]
# ## The viewer
#
# A recording as the last line of a notebook cell displays itself: press play, step with the arrow
# keys, choose another picture or another head. `recording.to_html("dates.html")` writes the same
# page as one file that needs no network; so does the command `seqlearn view model.ckpt "Sunday,
# November 22, 2026"`. [The viewer](../viewer.md) lists the pictures.

# %%
recording.select(0)

# %% [markdown]
# ## Models from other libraries
#
# Every module that calls PyTorch's `scaled_dot_product_attention` or `nn.MultiheadAttention` is
# recorded without changes: `nn.Transformer`, models of Hugging Face, your own.

# %%
layer = torch.nn.TransformerEncoderLayer(32, 4, batch_first=True)
encoder = torch.nn.TransformerEncoder(layer, 2).eval()
with torch.no_grad(), sl.record(encoder) as other:
    encoder(torch.randn(1, 6, 32))
print({name: tuple(weights.shape) for name, weights in other.attention.items()})
assert [tuple(each.shape) for each in other.attention.values()] == [
    (1, 4, 6, 6)
] * 2

# %% [markdown]
# To record a softmax of your own, add one line: `weights = sl.probe("mixer.0", weights,
# axes=("target", "source"))`.
#
# ## Exercises
#
# **1.** Between which values can the entropy of attention over $n$ characters be, and when does it
# have them? Check your answer with `head_entropy` and $n = 25$.
#
# <details markdown>
# <summary>Solution</summary>

# %%
one_query = torch.ones(1, 1, dtype=torch.bool)
least = float(head_entropy(torch.eye(25)[None, None, :1], one_query))
most = float(head_entropy(torch.full((1, 1, 1, 25), 1 / 25), one_query))
print(f"all on one: {least:.2f} nats; uniform: {most:.2f} nats")
assert abs(least) < 1e-4
assert math.isclose(most, math.log(25), rel_tol=1e-4)

# %% [markdown]
# It is 0 if one character has all the weight, and $\ln n$ if all have the same weight. So
# $e^{\text{entropy}}$ is a number of characters, between 1 and $n$.
#
# </details>
#
# **2.** Show from the recording that the cell follows
# $c_t = f_t \odot c_{t-1} + i_t \odot g_t$. The recording has the candidate $g_t$, too.
#
# <details markdown>
# <summary>Solution</summary>

# %%
cell = gates["cell"]
kept = gates["forget"][:, 1:] * cell[:, :-1]
added = gates["input"][:, 1:] * gates["candidate"][:, 1:]
difference = (kept + added - cell[:, 1:])[steps[:, 1:]].abs().max()
print(f"maximum difference from the cell: {difference:.0e}")
assert difference < 1e-4

# %% [markdown]
# The first step is left out, because the cell before it comes from the context vector of the
# encoder.
#
# </details>
#
# **3.** Write a module with a softmax of its own, in which each position attends to all positions
# by the dot product with them. Record its weights.
#
# <details markdown>
# <summary>Solution</summary>


# %%
class Mixer(torch.nn.Module):
    """Attention without weights of its own."""

    def forward(self, x):
        weights = (x @ x.mT).softmax(-1)
        weights = sl.probe("mixer", weights, axes=("source", "source"))
        return weights @ x


x = torch.randn(1, 6, 32)
mixer = Mixer()
with sl.record(mixer) as own:
    mixer(x)
(weights,) = own.attention.values()
print(list(own.attention), tuple(weights.shape))
assert list(own.attention) == ["mixer"]
assert torch.allclose(weights.squeeze(1), (x @ x.mT).softmax(-1))
assert (weights.argmax(-1) == torch.arange(6)).all()

# %% [markdown]
# Without a recording, `sl.probe` returns its tensor and does nothing else, so it can stay in the
# module. Each position attends most to itself: no other random vector is as similar to it.
#
# </details>
#
# ## Next
#
# The [reference](../reference/introspect.md) describes all measures with their sources, and the
# options of `record`: modules, precision, and storing only the largest weights.
