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

for text, language in examples:
    words = text.split()
    assert len(words) == 16
    assert words[-(data.distance + 4)] in data.countries[language]
assert len(data.spec.target.labels) == len(data.countries) == 10

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
assert torch.allclose(by_hand, pooled, atol=1e-5)

# %% [markdown]
# (The embedding is scaled by $\sqrt{d}$, because its entries are initialized with small values.)
#
# Each position of the window has its own weights, so a wider window needs more weights:

# %%
counts = {}
for window in (16, 32, 64, 1024):
    encoder = sl.FeedForward(data.spec, window=window, d_model=32).encoder
    counts[window] = sum(p.numel() for p in encoder.parameters())
    print(f"window {window:5}: {counts[window]:9,} parameters")
assert list(counts.values()) == sorted(set(counts.values()))

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
else:
    raise AssertionError("a text longer than the window is an error")

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
assert in_front[0] != in_front[1]
assert torch.equal(cut, short)
assert torch.equal(cut, other)
assert not torch.equal(cut, inside)

# %% [markdown]
# Training uses the gradient: how much does the output change with a small change of an input?
# Outside the window the gradient is exactly zero at every position, so nothing can be learned
# there.

# %%
# | fig-alt: Bar chart of the size of the gradient at each word of a text. In the shaded part,
# |   outside the window, all bars are zero.
# | fig-cap: Gradient at each word: nothing reaches the words outside the window.
ids = torch.tensor(data.spec.source.encode([long_text]))
embedded = model.source_embedding(ids).detach().requires_grad_()
pooled = model.encoder(embedded, torch.ones_like(ids, dtype=torch.bool)).pooled
(gradient,) = torch.autograd.grad(pooled.sum(), embedded)
sizes = gradient[0].norm(dim=-1)
zeros = int((sizes == 0).sum())
print("positions with a gradient of exactly zero:", zeros, "of", len(sizes))
assert (sizes == 0).tolist() == [True] * 4 + [False] * 16

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

assert min(share for d, share in accuracy.items() if d <= 12) > 0.95
assert max(share for d, share in accuracy.items() if d > 12) < 0.2

# %%
# | fig-alt: Accuracy by distance for a window of 16 words, with the end of the window and the
# |   level of chance as lines. The accuracy falls to chance at the end of the window.
# | fig-cap: Accuracy by distance: at the end of the window it falls to chance.
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
by_window = {}
for window in (16, 17):
    model = sl.FeedForward(data.spec, window=window, **settings)
    by_window[window] = trained(model, data)
    print(f"distance 13, window {window}: {by_window[window]:6.1%}")
assert by_window[16] < 0.2
assert by_window[17] > 0.95

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


def accuracy_at(model, distance):
    """The share of right answers at a distance."""
    texts, answers = zip(*data.at_distance(distance), strict=True)
    predictions, _ = model.classify(texts)
    right = sum(a == b for a, b in zip(predictions, answers, strict=True))
    return right / len(texts)


moved = {distance: accuracy_at(model, distance) for distance in (4, 5, 6, 8)}
for distance, share in moved.items():
    print(f"trained at distance 4, tested at distance {distance}: {share:6.1%}")
assert moved[4] > 0.95
assert max(moved[5], moved[6], moved[8]) < 0.3

# %% [markdown]
# All these words are well inside a window of 32, and still the network guesses. A person who knows
# the word "Germany" does not have to learn it again for each position in a sentence.
#
# ## Exercises
#
# **1.** By how much does the number of parameters grow with each position of the window? Derive it
# from the equation and check it with the figures above.
#
# <details markdown>
# <summary>Solution</summary>

# %%
for_each = (counts[1024] - counts[16]) / (1024 - 16)
print(f"{for_each:.0f} parameters for each position; 32 × 32 = {32 * 32}")
assert for_each == 32 * 32

# %% [markdown]
# $H$ has a column for each number of $x$, and a row for each of the 32 hidden units. A position
# adds 32 numbers to $x$, hence 32 × 32 weights. With the 1,024 positions of a page of text, that
# is a million of them for one layer.
#
# </details>
#
# **2.** A text at distance 13, a network with a window of 16, untrained: replace its country by one
# of each other language. How many different outputs are there? How many with a window of 17?
#
# <details markdown>
# <summary>Solution</summary>

# %%
data = sl.data.Recall(13)
words = next(iter(data.examples("test")))[0].split()
variants = []
for names in data.countries.values():
    words[-17] = names[0]
    variants.append(" ".join(words))
different = {}
for window in (16, 17):
    model = sl.FeedForward(data.spec, window=window, **settings)
    _, outputs = model.classify(variants)
    different[window] = len({tuple(output.tolist()) for output in outputs})
print(different)
assert different == {16: 1, 17: 10}

# %% [markdown]
# One: the country is the 17th word from the end, so the first network reads ten times the same
# text. The second has ten outputs, even though it has learned nothing yet.
#
# </details>
#
# **3.** A network trained at distance 4 fails at distance 5. Train one on texts of distance 4 and
# of distance 6. At which distances does it answer? Does it find the country in between, at 5?
#
# <details markdown>
# <summary>Solution</summary>


# %%
class TwoDistances(sl.data.SequenceDataModule):
    """Texts of two distances."""

    def __init__(self):
        words, classes = sl.data.Text("word"), sl.data.Classes()
        super().__init__(words, classes, batch_tokens=64 * 18)

    def examples(self, split):
        for distance in (4, 6):
            yield from sl.data.Recall(distance).examples(split)


mixed = TwoDistances()
model = sl.FeedForward(mixed.spec, window=32, **settings)
trained(model, mixed, epochs=2)
found = {distance: accuracy_at(model, distance) for distance in (4, 5, 6)}
print(*(f"distance {d}: {share:.1%}  " for d, share in found.items()))
assert min(found[4], found[6]) > 0.95
assert found[5] < 0.3

# %% [markdown]
# It answers at 4 and at 6, where it was trained, and guesses at 5: the weights of that position
# have never seen a country. Every word would have to occur at every position of the training texts.
#
# </details>
#
# ## Next
#
# The [recurrent network](recurrent.md) takes texts of any length and recognizes a word at any
# position. It reads one word after another with the *same* weights at every step, and stores what
# it has read in a state.
