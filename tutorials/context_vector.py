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
import math
import warnings
from collections import Counter

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

splits = {
    split: [source for source, _ in data.examples(split)]
    for split in ("train", "test")
}
lengths = Counter(len(source.split()) for source in splits["test"])
assert sorted(lengths) == list(range(3, 21))
assert max(lengths.values()) < 2 * min(lengths.values())
assert not set(splits["train"]) & set(splits["test"])

# %% [markdown]
# ## Encoder and decoder
#
# The last states of the encoder, of both directions, go through one layer and become the context
# vector. Another layer maps it to the initial state of the decoder. The picture of both follows
# [below](#the-memory), with the states of the trained model.


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
assert lstm.generate(["3 1 4", "2 7 1 8"]) == ["3 1 4", "2 7 1 8"]

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
    assert memory.states.shape[1] == len(text.split())
    assert memory.pooled.shape == (1, 70)

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
assert greedy(lstm, encode(lstm, first)) == first

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
assert greedy(lstm, a._replace(states=noise)) == greedy(lstm, a)
assert greedy(lstm, swapped[0]) == greedy(lstm, b)
assert greedy(lstm, swapped[1]) == greedy(lstm, a) != greedy(lstm, b)

# %% [markdown]
# In the last line, the decoder gets the states of one source and the context vector of the other,
# and generates the other. It does not use the states.

#
# The viewer shows this for the trained model: the encoder reads the source, one vector is passed
# on, and the decoder generates the target from it. Press play, or step with the arrow keys.

# %%
with sl.record(lstm) as recording:
    lstm.generate([second])
recording.view(opens="context_vector", title="Through one context vector")

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

wide, narrow, attention = (list(shares.values()) for shares in figures.values())
sizes = [
    sum(p.numel() for p in model.parameters()) for model in models.values()
]
assert sizes[1] < sizes[0]
assert abs(sizes[2] / sizes[0] - 1) < 0.15
assert wide[0] > 0.9
assert narrow[0] > 0.7
assert max(wide[-1], narrow[-1]) < 0.3
assert sum(narrow) < sum(wide) - 1  # it falls at shorter sources
assert min(attention) > 0.8
assert attention[0] - attention[-1] < 0.2

# %%
# | fig-alt: Share of sequences copied without an error by their length, for two LSTMs with a
# |   context of 70 and of 36 numbers and for an LSTM with attention.
# | fig-cap: Copied sequences by length: two sizes of the context vector, and attention.
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
assert lstm.generate([longest]) != [longest]

# %% [markdown]
# The figure does not show that 20 digits do not *fit* into 70 numbers. They would, many times over.
# It shows how much a decoder learns to extract from one vector with a given amount of training. A
# wider vector moves the drop to the right; longer sources are then beyond it again.
#
# With attention, is the context vector still needed? We swap the context vectors of two sources
# once more, and then give each of 40 sources that of the next one:

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

sources = splits["test"][:40]
memories = [encode(attentive, source) for source in sources]
following = [*range(1, 40), 0]
of_states, of_vector, other_number = [], [], 0
for one, other in enumerate(following):
    memory = memories[one]._replace(pooled=memories[other].pooled)
    written = greedy(attentive, memory).split()
    for digit, *both in zip(
        written, sources[one].split(), sources[other].split(), strict=False
    ):
        of_states.append(digit == both[0])
        of_vector.append(digit == both[1])
    other_number += len(written) != len(sources[one].split())
from_states = sum(of_states) / len(of_states)
from_vector = sum(of_vector) / len(of_vector)
print(f"digits of the source of the states  {from_states:.0%}")
print(f"digits of the source of the vector  {from_vector:.0%}")
print(f"another number of digits            {other_number} of 40")
assert from_states > 2 * from_vector
assert other_number > 0

# %% [markdown]
# Now most digits come from the states; one in ten agrees by chance. The context vector, which is
# still the initial state of the decoder, has an influence on their number, and a vector that does
# not belong to the states causes errors.

# %% [markdown]
# ## Exercises
#
# **1.** How many bits are needed to store 20 digits? How many does a context vector of 70 numbers
# have in single precision, and how many would each of its elements have to hold?
#
# <details markdown>
# <summary>Solution</summary>

# %%
needed, available = 20 * math.log2(10), 70 * 32
print(f"{needed:.0f} bits needed, {available} available")
print(f"{needed / 70:.2f} bits for each element")
assert needed < 70 < available / 30

# %% [markdown]
# Less than one bit for each element: the sign of each of them would be enough. The capacity is not
# the bottleneck, but what gradient descent finds of it.
#
# </details>
#
# **2.** How much of its 32 bits does the network use? Round the elements of the context vector,
# which are between -1 and 1, to multiples of a step, and count how many sources of six digits are
# still copied without an error. At which step does it fail?
#
# <details markdown>
# <summary>Solution</summary>

# %%
six = [source for source in splits["test"] if len(source.split()) == 6][:30]
kept = {}
for step in (0.0, 0.01, 0.1, 0.5, 1.0, 2.0):
    copied = []
    for source in six:
        memory = encode(lstm, source)
        if step:
            rounded = (memory.pooled / step).round() * step
            memory = memory._replace(pooled=rounded)
        copied.append(greedy(lstm, memory) == source)
    kept[step] = sum(copied) / len(six)
    print(f"step {step:4}: {kept[step]:4.0%} copied without an error")
assert kept[0.0] > 0.8
assert kept[0.01] > kept[0.0] - 0.1
assert kept[1.0] < kept[0.01]
assert kept[2.0] < 0.1

# %% [markdown]
# Two decimal places are enough, so most of the bits are not used. With a step of 2 all elements are
# zero, and nothing of the source is left.
#
# </details>
#
# **3.** Where in a long sequence are the errors? For the sources of 20 digits and the first LSTM,
# compute the share of right digits by position.
#
# <details markdown>
# <summary>Solution</summary>

# %%
long = [source for source in splits["test"] if len(source.split()) == 20]
right = torch.zeros(20)
for source, output in zip(long, lstm.generate(long), strict=True):
    pairs = zip(source.split(), output.split(), strict=False)
    for place, (digit, written) in enumerate(pairs):
        right[place] += digit == written
right /= len(long)
print(*(f"{share:.0%}" for share in right.tolist()))
assert right[0] > 0.6
assert right[:3].mean() > right[10:].mean() + 0.2
assert right[10:].mean() < 0.4
print(f"second half: {right[10:].mean():.0%}")

# %% [markdown]
# The first digit is right in most of them, and the shares fall along the sequence, towards the 10%
# of a guess. Every wrong digit is also the input of the next step.
#
# </details>
#
# ## Next
#
# A decoder that can attend to every state of the encoder needs to determine which ones to attend
# to. [Attention](attention.md) shows how, step by step.
