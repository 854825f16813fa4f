# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # One context vector, and its bottleneck
#
# **Claim.** Two recurrent networks turn a sequence into another one: an encoder reads the source
# into one vector, a decoder writes the target from it. All that the decoder knows of the source is
# this context vector. It has the same size for a short source and a long one, so the longer the
# source, the more is lost.
#
# In this tutorial we train such a pair of LSTMs (Sutskever et al. 2014) to copy sequences of
# digits, look at what passes from one to the other, and measure how much of it arrives. It takes
# about two minutes on two cores and downloads nothing.

# %%
import warnings

import lightning as L
import matplotlib.pyplot as plt
import torch

import seqlearn as sl
from seqlearn.batch import END, START

warnings.filterwarnings("ignore", module="lightning")

# %% [markdown]
# ## The data
#
# Nothing is easier to check than a copy: the answer is the source. `Synthetic` draws sequences of
# 3 to 20 digits, about as many short ones as long ones. No test sequence occurs in training.

# %%
data = sl.data.Synthetic("copy", length=20, min_length=3, batch_tokens=2048)
for source, target in list(data.examples("train"))[:3]:
    print(f"{source:40} → {target}")

# %% [markdown]
# ## Encoder and decoder
#
# The encoder's last states, of both directions, go through one layer and become the context
# vector. Another layer turns it into the first state of the decoder.
#
# ```text
#                 one vector                      next token
# h_1 ─► h_2 ─► h_3 ──[ context ]──► s_1 ─► s_2 ─► s_3 ─► [ head ]
#  ▲      ▲      ▲                    ▲      ▲      ▲
# x_1    x_2    x_3                 start   y_1    y_2
# ```


# %%
def train(architecture, d_model):
    """Train a model; all in the same way."""
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
# ## All that the decoder knows
#
# What an encoder hands over is a `Memory`: its states, which of them are real, and the summary,
# which is the context vector.

# %%
first, second = "3 1 4", "2 7 1 8 2 8"


def read(model, text):
    """Encode one source."""
    ids = torch.tensor(model.spec.source.encode([text]))
    with torch.no_grad():
        return model.encode(ids, torch.tensor([ids.shape[1]]))


for text in (first, second):
    memory = read(lstm, text)
    print(f"{text:12} states {tuple(memory.states.shape)}  summary {tuple(memory.summary.shape)}")

# %% [markdown]
# The decoder writes one token after another: it reads the one before, and its own state.


# %%
@torch.no_grad()
def write(model, memory):
    """Take the likeliest token at every step."""
    tokens, state = [START], None
    while tokens[-1] != END and len(tokens) < 30:
        answer, state = model.decode(torch.tensor([tokens[-1:]]), memory, state)
        tokens.append(int(model.head(answer)[0, -1].argmax()))
    return model.spec.target.decode([tokens])[0]


print(write(lstm, read(lstm, first)))

# %% [markdown]
# Now two experiments. We put noise in the place of all the encoder's states and keep the summary:
# the answer stays. We keep the states and swap the summaries of two sources: the answers swap.

# %%
a, b = read(lstm, first), read(lstm, second)
noise = torch.randn_like(a.states)
print("as it is          ", write(lstm, a), "|", write(lstm, b))
print("states are noise  ", write(lstm, a._replace(states=noise)))
swapped = a._replace(summary=b.summary), b._replace(summary=a.summary)
print("summaries swapped ", write(lstm, swapped[0]), "|", write(lstm, swapped[1]))

# %% [markdown]
# The last line has to be read twice: from the states of one source and the summary of the other
# the decoder writes the other one. It never looks at the states.

# %% [markdown]
# Played back, from the model that was just trained: the encoder reads to its end, one vector
# passes, and the decoder writes from it. Press play, or step with the arrow keys.

# %%
with sl.record(lstm) as recording:
    lstm.generate([second])
recording

# %% [markdown]
# ## The bottleneck
#
# The summary has 70 numbers, whether the source has 3 digits or 20. How much fits in? We count the
# test sequences that are copied without a single error, by their length.


# %%
def exact_by_length(model):
    """The share of sequences copied without an error; lengths 3 and 4 together, 5 and 6, …"""
    sources, targets = zip(*data.examples("test"), strict=True)
    right = {length: [] for length in range(4, data.length + 1, 2)}
    for target, answer in zip(targets, model.generate(sources), strict=True):
        right[(len(target.split()) + 1) // 2 * 2].append(answer == target)
    return {length: sum(found) / len(found) for length, found in right.items()}


# %% [markdown]
# Three models are compared, all trained in the same way: the one above; the same with a context
# vector about half as wide; and `AttentionSeq2Seq` with about as many parameters as the first. Its
# encoder is of the same kind, but its decoder may look at every state of the encoder, at every
# step.

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
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, shares), style in zip(figures.items(), ("o-", "s--", "^-"), strict=True):
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
# The LSTMs copy short sources and then fall off, the one with the narrower context earlier (it has
# fewer weights in all, too). With attention the length matters little. The training is the same and
# the encoder of one kind, so what tells them apart is what the decoder may look at. What an error
# looks like:

# %%
longest = max((source for source, _ in data.examples("test")), key=len)
print(f"{'the source':29} {longest}")
for name, model in models.items():
    print(f"{name:29} {model.generate([longest])[0]}")

# %% [markdown]
# One thing the figure does not say: that 20 digits do not *fit* into 70 numbers. They would, many
# times over. What is measured is how much a decoder learns to read out of one vector in a given
# training. A longer training moves the fall to the right (four times as long, by about four digits,
# when we tried it), as a wider vector does; and a longer source is past it again.
#
# And with attention, is the context vector still needed? We swap the summaries of two sources
# once more:

# %%
attentive = models["LSTM with attention"]
a, b = read(attentive, first), read(attentive, second)
print("as it is         ", write(attentive, a), "|", write(attentive, b))
swapped = a._replace(summary=b.summary), b._replace(summary=a.summary)
print("summaries swapped", write(attentive, swapped[0]), "|", write(attentive, swapped[1]))

# %% [markdown]
# Now the digits come from the states. The context vector, which is still the decoder's first
# state, keeps a say in how many there are.

# %% [markdown]
# ## What comes next
#
# A decoder that may look at every state of the encoder has to know where to look. How it does
# that, step by step, shows [Attention](attention.md).
