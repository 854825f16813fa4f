# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # The Transformer
#
# **Claim.** Attention alone, without any recurrence, learns to translate; all positions of a
# target are trained in parallel; and what the model looks at can be seen.
#
# In this tutorial we train a small Transformer (Vaswani et al. 2017) to translate written-out
# dates, measure it on dates it never saw, and look at its attention. It takes about two minutes
# on two cores and downloads nothing.

# %%
import warnings

import lightning as L
import torch

import seqlearn as sl

warnings.filterwarnings("ignore", module="lightning")
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## The data
#
# `Dates` writes dates in any two locales of the CLDR. Every date is in one split only.

# %%
data = sl.data.Dates("en", "de")
for source, target in list(data.examples("train"))[:3]:
    print(f"{source:35} {target}")
print(data.spec.source)

# %% [markdown]
# A batch is planned, not collated: examples of similar length stand together, so that little of a
# batch is padding.

# %%
data.setup("fit")
batch = next(iter(data.train_dataloader()))
print("source", tuple(batch.source.shape), "target", tuple(batch.target.shape))
padding = 1 - batch.source_lengths.sum() / batch.source.numel()
print(f"padding on the source side: {padding:.1%}")

# %% [markdown]
# ## Attention, step by step
#
# One attention is three lines: scores, softmax, weighted sum. `seqlearn.nn` holds the textbook
# form; the model itself runs on the fastest kernel, and the tests hold one to the other.

# %%
from seqlearn.nn import attend, attention_scores, attention_weights

query, key, value = torch.randn(3, 1, 1, 4, 8).unbind(0)  # batch heads time d_head
scores = attention_scores(query, key)
weights = attention_weights(query, key)
context = weights @ value
print("scores \n", scores[0, 0].round(decimals=2))
print("weights\n", weights[0, 0].round(decimals=2), "\nrows sum to", weights.sum(-1)[0, 0])
print("equal to the fast path:", torch.allclose(context, attend(query, key, value), atol=1e-6))

# %% [markdown]
# ## The model
#
# Encoder and decoder stand behind two small protocols; `Transformer` names them, and the base
# module does the rest.

# %%
model = sl.Transformer(
    data.spec,
    d_model=64,
    num_layers=2,
    num_heads=4,
    dropout=0.0,
    recipe=sl.Recipe(lr=3e-3, warmup_steps=100, schedule="cosine"),
)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
trainer = L.Trainer(
    max_epochs=5,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
    gradient_clip_val=1.0,
)
trainer.fit(model, data)

# %% [markdown]
# ## What it has learned
#
# A sentence counts only if every character is right.

# %%
(figures,) = trainer.test(model, data, verbose=False)
print(f"exact match on dates it never saw: {figures['test/exact_match']:.1%}")
examples = list(data.examples("test"))[:4]
answers = model.generate([source for source, _ in examples])
for (source, _), answer in zip(examples, answers, strict=True):
    print(f"{source:35} {answer}")

# %% [markdown]
# ## What it looks at
#
# `record` keeps the attention of every layer and head while the model answers. The weights are
# computed beside the kernel: recording changes no output.

# %%
source = examples[0][0]
with sl.record(model) as recording:
    answer = model.generate([source])
print(answer[0])
for name, weights in recording.attention.items():
    print(f"{name:30} {tuple(weights.shape)}")

# %% [markdown]
# Each row is a character that was written, each column one that was read. The rows of the month's
# name look at the month of the source, those of the day at the day.

# %%
recording.plot("decoder.layers.1.cross")

# %% [markdown]
# ## And where it falls short
#
# Every position looks at every other, so the cost of attention grows with the square of the
# length. The table of weights alone has `heads × length²` entries:

# %%
for length in (100, 1_000, 10_000):
    print(f"{length:6} tokens: {4 * length**2 * 4 / 2**20:8.1f} MiB of weights for 4 heads")
