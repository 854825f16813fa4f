# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Feed-forward networks and their fixed window
#
# **Claim.** A feed-forward network reads a window of fixed size and learns quickly from what is
# inside it. A token outside the window has no effect at all: it cannot change the output by a
# single bit, and the accuracy drops to chance at once, not gradually.
#
# This tutorial inspects the window (Bengio et al. 2003), moves a word out of it, and measures the
# accuracy. It takes less than a minute on two cores and downloads nothing.

# %%
import logging
import warnings

import lightning as L
import torch
from matplotlib import pyplot as plt

import seqlearn as sl

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## Data
#
# `Recall` tests memory with a textbook example. A text says in which country somebody grew up,
# continues with filler words, and ends with a question. The answer, one of ten languages, depends
# on the country alone. `distance` is the number of filler words between the country's sentence and
# the question.

# %%
data = sl.data.Recall(distance=4)
examples = list(data.examples("test"))
for text, language in examples[:3]:
    print(f"{text}  ->  {language}")

# %% [markdown]
# The question has three words, so the country is the word at position `distance + 4` from the end
# of the text, here position 8.
#
# ## The network, step by step
#
# The network maps each word of the window to a vector (its *embedding*), concatenates the vectors
# to one vector $x$, and applies a hidden layer, $\tanh(H x + d)$. Computed by hand:

# %%
model = sl.FeedForward(
    data.spec, window=16, d_model=32, overflow="truncate"
).eval()
text = examples[0][0]
ids = torch.tensor(data.spec.source.encode([text]))
embedded = model.source_embedding(ids)  # batch time d_model

_, hidden_layer, *_ = model.encoder.hidden
side_by_side = (embedded * model.d_model**0.5).flatten(1)
by_hand = torch.tanh(hidden_layer(side_by_side))
print(
    "embedded",
    tuple(embedded.shape),
    " side by side",
    tuple(side_by_side.shape),
)

real = torch.ones_like(ids, dtype=torch.bool)
pooled = model.encoder(embedded, real).pooled
print("equal to the encoder:", torch.allclose(by_hand, pooled, atol=1e-6))

# %% [markdown]
# (The embedding is scaled by $\sqrt{d}$, because its entries are initialized with small values.)
#
# Each position of the window has its own weights, so a wider window needs more weights:

# %%
for window in (16, 32, 64, 1024):
    encoder = sl.FeedForward(data.spec, window=window, d_model=32).encoder
    count = sum(p.numel() for p in encoder.parameters())
    print(f"window {window:5}: {count:9,} parameters")

# %% [markdown]
# ## Texts longer than the window
#
# The text has sixteen words and fits exactly. With four more words in front it is longer than the
# window. By default this is an error, because a model that silently ignores its input is hard to
# debug:

# %%
strict = sl.FeedForward(data.spec, window=16, d_model=32)
in_front = [" ".join(text.split()[:4]) for text, _ in examples[1:3]]
long_text = f"{in_front[0]} {text}"
try:
    strict.classify([long_text])
except ValueError as error:
    print(error)

# %% [markdown]
# With `overflow="truncate"` the model gives a warning and reads the last words of the text:

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    _, cut = model.classify([long_text])
print(caught[0].message)
warnings.filterwarnings("ignore", message="FeedForward reads the last")

# %% [markdown]
# ## No effect from outside the window
#
# The window covers the same words in the long text as in the short one. So the output must be equal
# bit for bit, whatever comes before. One different word inside the window changes the output.

# %%
_, short = model.classify([text])
_, other = model.classify([f"{in_front[1]} {text}"])
_, inside = model.classify([f"{in_front[0]} {text.replace('grew', 'speak')}"])
print("nothing in front           same bits:", torch.equal(cut, short))
print("other words in front       same bits:", torch.equal(cut, other))
print("another word in the window same bits:", torch.equal(cut, inside))

# %% [markdown]
# Training uses the gradient: how much does the output change with a small change of an input?
# Outside the window the gradient is exactly zero at every position, so nothing can be learned
# there.

# %%
# | fig-alt: Bar chart of the size of the gradient at each word of a text. In the shaded part,
# |   outside the window, all bars are zero.
ids = torch.tensor(data.spec.source.encode([long_text]))
embedded = model.source_embedding(ids).detach().requires_grad_()
pooled = model.encoder(embedded, torch.ones_like(ids, dtype=torch.bool)).pooled
(gradient,) = torch.autograd.grad(pooled.sum(), embedded)
sizes = gradient[0].norm(dim=-1)
zeros = int((sizes == 0).sum())
print("positions with a gradient of exactly zero:", zeros, "of", len(sizes))

figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
axes.bar(range(len(sizes)), sizes)
axes.axvspan(-0.5, len(sizes) - 16.5, color="0.9", label="outside the window")
axes.set_xticks(range(len(sizes)), long_text.split(), rotation=60, ha="right")
axes.set(xlim=(-0.5, len(sizes) - 0.5), ylabel="size of the gradient")
_ = axes.legend()

# %% [markdown]
# ## Accuracy by distance
#
# We train one network for each distance, with a window of 16 and otherwise equal settings: every
# batch has 64 texts. Up to a distance of 12 the country is inside the window.


# %%
def trained(model, data, epochs=3):
    """Train a model for a few epochs; return its accuracy on the test split."""
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    (figures,) = trainer.test(model, data, verbose=False)
    return figures["test/accuracy"]


recipe = sl.Recipe(lr=3e-3, warmup_steps=20, schedule="cosine")
settings = {
    "d_model": 64,
    "dropout": 0.0,
    "overflow": "truncate",
    "recipe": recipe,
}
accuracy = {}
for distance in (2, 4, 8, 11, 12, 13, 14, 16, 24):
    data = sl.data.Recall(distance, batch_tokens=64 * (distance + 12))
    accuracy[distance] = trained(
        sl.FeedForward(data.spec, window=16, **settings), data
    )
    print(f"distance {distance:3}: {accuracy[distance]:6.1%}")

# %%
# | fig-alt: Accuracy by distance for a window of 16 words, with the end of the window and the
# |   level of chance as lines. The accuracy falls to chance at the end of the window.
chance = 1 / len(data.spec.target.labels)
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
axes.plot(
    list(accuracy),
    list(accuracy.values()),
    "o-",
    label="FeedForward, window 16",
)
axes.axvline(12.5, color="0.6", linestyle=":", label="end of the window")
axes.axhline(chance, color="0.6", linestyle="--", label="chance")
axes.set(xlabel="distance (filler words)", ylabel="accuracy", ylim=(0, 1.05))
_ = axes.legend()

# %% [markdown]
# The accuracy drops at once. Inside the window, distance does not matter: the first position is as
# easy to use as the last one. One word further, and only guessing is left.
#
# A wider window moves the drop, but does not remove it. With one more position, the distance that
# was just too far is learned:

# %%
data = sl.data.Recall(13, batch_tokens=64 * 25)
for window in (16, 17):
    model = sl.FeedForward(data.spec, window=window, **settings)
    print(f"distance 13, window {window}: {trained(model, data):6.1%}")

# %% [markdown]
# ## Limitations inside the window
#
# There is a second limitation, *inside* the window. Each position has its own weights, so what the
# network has learned about a word at one position does not transfer to the next. We take a network
# trained at distance 4 and move the country by a few words:

# %%
data = sl.data.Recall(4, batch_tokens=64 * 16)
model = sl.FeedForward(data.spec, window=32, **settings)
trained(model, data)
for distance in (4, 5, 6, 8):
    examples = list(sl.data.Recall(distance).examples("test"))
    predictions, _ = model.classify([text for text, _ in examples])
    right = sum(
        prediction == language
        for prediction, (_, language) in zip(predictions, examples, strict=True)
    )
    print(
        f"trained at distance 4, tested at distance {distance}: "
        f"{right / len(examples):6.1%}"
    )

# %% [markdown]
# All these words are well inside a window of 32, and still the network guesses. A person who knows
# the word "Germany" does not have to learn it again for each position in a sentence.
#
# ## Next
#
# The [recurrent network](recurrent.md) takes texts of any length and recognizes a word at any
# position. It reads one word after another with the *same* weights at every step, and stores what
# it has read in a state.
