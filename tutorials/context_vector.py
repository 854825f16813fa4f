# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # One context vector and its bottleneck
#
# **Claim.** Two recurrent networks map a sequence to another one: an encoder reads the source into
# one vector, and a decoder generates the target from it. This [context
# vector](../glossary.md#context-vector) is all that the decoder receives of the source. It has the
# same size for short and long sources, so the longer the source, the more information is lost.
#
# This tutorial trains such a pair of LSTMs (Sutskever et al. 2014) to copy sequences of digits,
# inspects the vector between them, and measures how much of the source it holds. It takes about two
# minutes on two cores and downloads nothing.

# %%
import warnings

import lightning as L
import matplotlib.pyplot as plt
import torch

import seqlearn as sl
from seqlearn.batch import END, START

warnings.filterwarnings("ignore", module="lightning")

# %% [markdown]
# ## Data
#
# A copy is easy to check: the target is the source. `Synthetic` draws sequences of 3 to 20 digits,
# with about equally many of each length. No test sequence occurs in training.

# %%
data = sl.data.Synthetic("copy", length=20, min_length=3, batch_tokens=2048)
for source, target in list(data.examples("train"))[:3]:
    print(f"{source:40} → {target}")

# %% [markdown]
# ## Encoder and decoder
#
# The last states of the encoder, of both directions, go through one layer and become the context
# vector. Another layer maps it to the initial state of the decoder.
#
# ```text
#                 one vector                      next token
# h_1 ─► h_2 ─► h_3 ──[ context ]──► s_1 ─► s_2 ─► s_3 ─► [ head ]
#  ▲      ▲      ▲                    ▲      ▲      ▲
# x_1    x_2    x_3                 start   y_1    y_2
# ```


# %%
def train(architecture, d_model):
    """Train a model; the settings are the same for all models."""
    L.seed_everything(0, verbose=False)
    model = architecture(
        data.spec,
        d_model=d_model,
        bidirectional=True,
        dropout=0.0,
        recipe=sl.Recipe(lr=4e-3, warmup_steps=100, schedule="cosine"),
    )
    trainer = L.Trainer(
        max_epochs=14,
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


lstm = train(sl.LSTM, d_model=70)
print(lstm.generate(["3 1 4", "2 7 1 8"]))

# %% [markdown]
# ## The memory
#
# The output of an encoder is a `Memory`: its states, a mask of the real ones, and the context
# vector, `pooled`.

# %%
first, second = "3 1 4", "2 7 1 8 2 8"


def encode(model, text):
    """Encode one source."""
    ids = torch.tensor(model.spec.source.encode([text]))
    with torch.no_grad():
        return model.encode(ids, torch.tensor([ids.shape[1]]))


for text in (first, second):
    memory = encode(lstm, text)
    print(
        f"{text:12} states {tuple(memory.states.shape)}"
        f"  pooled {tuple(memory.pooled.shape)}"
    )

# %% [markdown]
# The decoder generates one token after another. Each step takes the previous token and the
# decoder's own state.


# %%
@torch.no_grad()
def greedy(model, memory):
    """Greedy search: take the most probable token at every step."""
    tokens, state = [START], None
    while tokens[-1] != END and len(tokens) < 30:
        output, state = model.decode(torch.tensor([tokens[-1:]]), memory, state)
        tokens.append(int(model.head(output)[0, -1].argmax()))
    return model.spec.target.decode([tokens])[0]


print(greedy(lstm, encode(lstm, first)))

# %% [markdown]
# Two experiments follow. First we replace all encoder states by noise and keep the context vector:
# the output does not change. Then we keep the states and swap the context vectors of two sources:
# the outputs are swapped.

# %%
a, b = encode(lstm, first), encode(lstm, second)
noise = torch.randn_like(a.states)
print("unchanged         ", greedy(lstm, a), "|", greedy(lstm, b))
print("noise as states   ", greedy(lstm, a._replace(states=noise)))
swapped = a._replace(pooled=b.pooled), b._replace(pooled=a.pooled)
print(
    "vectors swapped   ",
    greedy(lstm, swapped[0]),
    "|",
    greedy(lstm, swapped[1]),
)

# %% [markdown]
# In the last line, the decoder gets the states of one source and the context vector of the other,
# and generates the other. It does not use the states.

# %% [markdown]
# The viewer shows this for the trained model: the encoder reads the source, one vector is passed
# on, and the decoder generates the target from it. Press play, or step with the arrow keys.

# %%
with sl.record(lstm) as recording:
    lstm.generate([second])
recording

# %% [markdown]
# ## The bottleneck
#
# The context vector has 70 elements, whether the source has 3 digits or 20. How much does it hold?
# We measure the accuracy (every digit of a test sequence is correct) by length.


# %%
def exact_by_length(model):
    """The share copied without an error, of lengths 3 and 4, 5 and 6, …"""
    sources, targets = zip(*data.examples("test"), strict=True)
    right = {length: [] for length in range(4, data.length + 1, 2)}
    for target, output in zip(targets, model.generate(sources), strict=True):
        right[(len(target.split()) + 1) // 2 * 2].append(output == target)
    return {length: sum(found) / len(found) for length, found in right.items()}


# %% [markdown]
# We compare three models, trained in the same way: the one above; one with a context vector about
# half as wide; and `AttentionSeq2Seq` with about as many parameters as the first. Its encoder is of
# the same kind, but its decoder can attend to every state of the encoder at every step.

# %%
models = {
    "LSTM, a context of 70 numbers": lstm,
    "LSTM, a context of 36 numbers": train(sl.LSTM, d_model=36),
    "LSTM with attention": train(sl.AttentionSeq2Seq, d_model=64),
}
figures = {name: exact_by_length(model) for name, model in models.items()}
for name, model in models.items():
    print(f"{name}: {sum(p.numel() for p in model.parameters()):,} parameters")
    print(*(f"{length:5}" for length in figures[name]))
    print(*(f"{share:5.0%}" for share in figures[name].values()))

# %%
# | fig-alt: Share of sequences copied without an error by their length, for two LSTMs with a
# |   context of 70 and of 36 numbers and for an LSTM with attention.
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, shares), style in zip(
    figures.items(), ("o-", "s--", "^-"), strict=True
):
    axes.plot(shares.keys(), shares.values(), style, label=name)
axes.set(
    xlabel="length of the source (digits, or one less)",
    ylabel="copied without an error",
    xticks=range(4, data.length + 1, 2),
    ylim=(-0.03, 1.03),
)
axes.yaxis.set_major_formatter("{x:.0%}")
axes.grid(alpha=0.3)
_ = axes.legend()

# %% [markdown]
# The LSTMs copy short sources, and their accuracy drops with length, earlier with the narrower
# context vector (which also has fewer weights in total). With attention, length matters little.
# Training and kind of encoder are the same, so the difference comes from what the decoder can
# access. An example of an error:

# %%
longest = max((source for source, _ in data.examples("test")), key=len)
print(f"{'source':29} {longest}")
for name, model in models.items():
    print(f"{name:29} {model.generate([longest])[0]}")

# %% [markdown]
# The figure does not show that 20 digits do not *fit* into 70 numbers. They would, many times over.
# It shows how much a decoder learns to extract from one vector with a given amount of training.
# Longer training moves the drop to the right (four times as long: by about four digits, in our
# experiment), and so does a wider vector; longer sources are then beyond it again.
#
# With attention, is the context vector still needed? We swap the context vectors of two sources
# once more:

# %%
attentive = models["LSTM with attention"]
a, b = encode(attentive, first), encode(attentive, second)
print("unchanged        ", greedy(attentive, a), "|", greedy(attentive, b))
swapped = a._replace(pooled=b.pooled), b._replace(pooled=a.pooled)
print(
    "vectors swapped  ",
    greedy(attentive, swapped[0]),
    "|",
    greedy(attentive, swapped[1]),
)

# %% [markdown]
# Now the digits come from the states. The context vector, which is still the initial state of the
# decoder, has some influence on their number.

# %% [markdown]
# ## Next
#
# A decoder that can attend to every state of the encoder needs to determine which ones to attend
# to. [Attention](attention.md) shows how, step by step.
