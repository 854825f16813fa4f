# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Looking inside
#
# **Claim.** A trained model can be asked what it did: where it looked, what it held in its states,
# which gates it opened, step by step, and the answer is exact. Nothing about the model changes by
# being asked, not a bit of its output; and it works for other people's models too.
#
# In this tutorial we train one model, record it, measure what was recorded, play it back, and
# record a model that is not seqlearn's. It takes about a minute on two cores and downloads nothing.

# %%
import logging
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
# ## While it trains: callbacks
#
# A callback looks at a few fixed examples every now and then, beside the training. There are four:
# `AttentionMonitor` draws where the model looks, `StateMonitor` its states and gates,
# `GradientFlow` [how far back the loss reaches](vanishing_gradients.md), and `SampleLogger` writes
# down what the model answers. They draw to any logger that takes figures or texts, or to files.

# %%
data = sl.data.Dates("en", "de", batch_tokens=2048)
model = sl.AttentionSeq2Seq(
    data.spec, d_model=96, recipe=sl.Recipe(lr=3e-3, warmup_steps=50, schedule="cosine")
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

# %% [markdown]
# What `SampleLogger` wrote after the last epoch:

# %%
samples = sorted(path for path in Path(logs.name).rglob("*") if path.suffix in (".md", ".txt"))
print(samples[-1].read_text(encoding="utf-8"))

# %% [markdown]
# ## Afterwards: a recording
#
# `sl.record` listens while its block runs. A recording holds attention, states and gates by the
# names of the modules, one row for each example, with its tokens.

# %%
dates = [str(source) for source, _ in data.examples("test")][:50]
with sl.record(model.eval()) as recording:
    answers = model.generate(dates)
print(dates[0], "→", answers[0])
for kind in ("attention", "states", "gates"):
    print(kind, list(getattr(recording, kind)))

# %%
recording.plot("decoder.combination.attention")

# %% [markdown]
# The gates are not stored anywhere while the fast kernel runs. They are computed beside it, from
# what it read and what it answered. So they can be held to it: an LSTM's state is its output gate
# times the tanh of its cell.

# %%
layer = "decoder.recurrence.layers.0"
gates, states = recording.gates[layer], recording.states[layer]
print(", ".join(f"{name} {tuple(gate.shape)}" for name, gate in gates.items()))
steps = recording.mask("target")
difference = (gates["output"] * gates["cell"].tanh() - states)[steps].abs().max()
print(f"greatest difference to the states: {difference:.0e}")

# %%
recording.plot(layer)

# %% [markdown]
# ## Measures
#
# Pictures are for one example; numbers for many. How sharply does it look? How often is a gate shut
# or open? And does it look where it should: at the month, while it writes the month's name?

# %%
name = "decoder.combination.attention"
weights = recording.attention[name]
(nats,) = head_entropy(weights, recording.queries(name)).tolist()
print(f"entropy {nats:.2f} nats: as if it looked at {2.718**nats:.1f} characters at a time")
for gate in ("input", "forget", "output"):
    shut, opened = gate_saturation(gates[gate], steps)
    print(f"{gate:7} shut {shut.mean():5.1%} of the time, open {opened.mean():5.1%}")

on_it = beside = 0
keys = hard_alignment(weights)[:, 0]
for row, (date, answer) in enumerate(zip(dates, answers, strict=True)):
    there = date.index(", ") + 2  # "Sunday, November 22" or "Sun, 11/22"
    month = range(there, there + len(date[there:].replace("/", " ").split()[0]))
    here = answer.find(". ") + 2  # "22. November"
    key = int(keys[row, here])
    on_it += key in month
    beside += key in (month.start - 1, month.stop)
print(f"when it begins to write the month it looks at it: {on_it / len(dates):.0%},")
print(f"or at the character beside it: {beside / len(dates):.0%}")

# %% [markdown]
# Beside it is no mistake: the encoder reads in both directions, so the state at a comma or a slash
# knows the month next to it.

# %% [markdown]
# ## Played back
#
# A recording that stands at the end of a cell shows itself: press play, step with the arrow keys,
# choose another picture or another head. The same page, as one file without any network, comes from
# `recording.to_html("dates.html")`, or without any code from
# `seqlearn view model.ckpt "Sunday, November 22, 2026"`.

# %%
recording.select(0)

# %% [markdown]
# ## Other people's models
#
# Whatever calls torch's `scaled_dot_product_attention` or `nn.MultiheadAttention` is heard as it
# is: `nn.Transformer`, Hugging Face's models, your own.

# %%
layer = torch.nn.TransformerEncoderLayer(32, 4, batch_first=True)
encoder = torch.nn.TransformerEncoder(layer, 2).eval()
with torch.no_grad(), sl.record(encoder) as other:
    encoder(torch.randn(1, 6, 32))
print({name: tuple(weights.shape) for name, weights in other.attention.items()})

# %% [markdown]
# A softmax of your own joins with one line,
# `weights = sl.probe("mixer.0", weights, axes=("target", "source"))`.
#
# ## What comes next
#
# The [reference](../reference/introspect.md) has all measures with their sources, and what `record`
# can leave out: modules, precision, all but the greatest weights.
