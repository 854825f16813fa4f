# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Attention, step by step
#
# **Claim.** A decoder with attention takes what it needs of the source from the states of the
# encoder, at every step anew: it scores each of them, makes weights of the scores by a softmax,
# weighs the states, sums them to a context, concatenates the context with its own state, feeds that
# forward, and names the next word. None of the steps takes more than a line, and one can see where
# it looks.
#
# In this tutorial we train a small encoder and decoder with attention to translate written-out
# dates, take one step of it apart by hand, hold the result to what the model does, and compare the
# four scores of the literature. It takes about two minutes on two cores and downloads nothing.

# %%
import math
import warnings

import lightning as L
import matplotlib.pyplot as plt
import torch

import seqlearn as sl
from seqlearn.batch import END, START

warnings.filterwarnings("ignore", module="lightning")

# %% [markdown]
# ## A trained model
#
# The words of this task are characters. The score is Luong's "general" one (Luong et al. 2015); the
# encoder reads in both directions, as Bahdanau's does (Bahdanau et al. 2015).

# %%
data = sl.data.Dates("en", "de", batch_tokens=2048)


def train(score):
    """Train a model with one of the four scores; give it and its figures on the test dates."""
    L.seed_everything(0, verbose=False)
    model = sl.AttentionSeq2Seq(
        data.spec,
        cell="lstm",
        score=score,
        d_model=48,
        dropout=0.0,
        recipe=sl.Recipe(lr=6e-3, warmup_steps=50, schedule="cosine"),
    )
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        limit_val_batches=0,
    )
    trainer.fit(model, data)
    (figures,) = trainer.test(model, data, verbose=False)
    return model.eval(), figures


model, figures = train("general")
print(f"exact match on dates it never saw: {figures['test/exact_match']:.1%}")

# %%
source = "Sunday, November 22, 2026"
(target,) = model.generate([source])
print(source, "→", target)

# %% [markdown]
# ## The two sides
#
# The encoder gives a state $h_i$ for every character of the source. The decoder, fed the start
# symbol and the characters written so far, has a state $s_t$ before it writes character $t$.

# %%
source_ids = torch.tensor(model.spec.source.encode([source]))
fed = torch.tensor([[START, *model.spec.target.encode([target])[0]]])
with torch.no_grad():
    memory = model.encode(source_ids, torch.tensor([source_ids.shape[1]]))
    states, _ = model.decoder.recurrence(model.target_embedding(fed), memory)
print("encoder states", tuple(memory.states.shape), " decoder states", tuple(states.shape))

# %% [markdown]
# We take one step apart: the one that writes the first digit of the day. The source has a 2 in
# four places, so the character alone does not say where to look.

# %%
step = target.index("22")
h, s = memory.states[0], states[0, step]
print(f"written so far {target[:step]!r}, to be written {target[step]!r}")

# %% [markdown]
# ## 1. Score
#
# How well does the decoder's state fit each state of the encoder? One number each:
# $\operatorname{score}(s, h_i) = s \cdot W h_i$, with a matrix $W$ that was learned.

# %%
layer = model.decoder.combination
W = layer.attention.key.weight.detach()
scores = torch.stack([s @ (W @ h_i) for h_i in h])
print(*(f"{score:.1f}" for score in scores))

# %% [markdown]
# ## 2. Softmax
#
# The exponentials of the scores, divided by their sum, are weights: positive, and one together.

# %%
weights = scores.exp() / scores.exp().sum()
print(f"their sum: {weights.sum():.3f}")
for weight, place in zip(*weights.topk(3), strict=True):
    print(f"character {int(place):2} of the source, {source[place]!r}: {weight:6.1%}")

# %%
figure, (above, below) = plt.subplots(2, 1, figsize=(8, 4), sharex=True, layout="constrained")
above.bar(range(len(scores)), scores)
above.axhline(0, color="0.5", linewidth=0.8)
above.set(ylabel="score", title=f"to write {target[step]!r} after {target[:step]!r}")
below.bar(range(len(weights)), weights)
below.set(ylabel="weight", xlabel="character of the source", ylim=(0, 1))
_ = below.set_xticks(range(len(source)), source.replace(" ", "␣"))

# %% [markdown]
# ## 3. Weigh, 4. Sum
#
# Every state of the encoder is multiplied by its weight, and the products are added up: one vector,
# the context, as wide as a state, however long the source is.

# %%
weighted = weights[:, None] * h
context = weighted.sum(0)
print("weighted states", tuple(weighted.shape), " context", tuple(context.shape))

# %%
figure, axes = plt.subplots(
    1, 3, figsize=(9, 4), sharey=True, layout="constrained", width_ratios=(10, 10, 1)
)
for panel, picture, title in zip(
    axes, (h, weighted, context[:, None].T), ("states", "× weights", "sum"), strict=True
):
    image = panel.imshow(picture.T, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    panel.set(title=title, xticks=[])
for panel in axes[:2]:
    panel.set_xticks(range(len(source)), source.replace(" ", "␣"), fontsize=7)
    panel.set_xlabel("character of the source")
axes[0].set_ylabel("number within the state")
_ = figure.colorbar(image, ax=axes, label="value")

# %% [markdown]
# ## 5. Concatenate, 6. Feed forward, 7. Word
#
# What was seen stands beside the state that looked. One layer makes an answer of both,
# $\tilde h = \tanh(W_c\,[c; s] + b)$, and the output layer a logit for each character. The
# likeliest is written.

# %%
with torch.no_grad():
    both = torch.cat([context, s])
    answer = torch.tanh(layer.feedforward.weight @ both + layer.feedforward.bias)
    logits = model.head.weight @ answer + model.head.bias
    probabilities = logits.exp() / logits.exp().sum()
best = probabilities.topk(4)
for token, probability in zip(model.spec.target.tokens(best.indices), best.values, strict=True):
    print(f"{token!r:8} {probability:7.2%}")

# %% [markdown]
# ## Is that what the model does?
#
# The model runs all steps of a known target at once. At our step its answer must be ours, but for
# rounding.

# %%
with torch.no_grad():
    answers, _ = model.decode(fed, memory)
print("largest difference", float((answers[0, step] - answer).abs().max()))
print("equal:", torch.allclose(answers[0, step], answer, atol=1e-5))

# %% [markdown]
# ## Where it looks
#
# `record` keeps the weights of every step while the model answers. The row of our step is the one
# that we made by hand.

# %%
with sl.record(model) as recording:
    model.generate([source])
name = "decoder.combination.attention"
print(name, tuple(recording.attention[name].shape))
print("equal:", torch.allclose(recording.attention[name][0, 0, step], weights, atol=1e-5))

# %%
recording.plot(name)

# %% [markdown]
# Digits are copied, and each row of a digit looks at its own digit in the source, out of order:
# the day stands behind the month in English, before it in German. Other rows look where nothing
# is to be learned, such as those that go on with a word already begun. The weights must lie
# somewhere, for their sum is one.
#
# And all seven steps, played back from this recording, for each character that was written. Press
# play, or step with the arrow keys.

# %%
recording

# %% [markdown]
# ## Does it use what it looks at?
#
# A weight is not yet a proof. So we change what it looks at and nothing else: the two encoder
# states of the day are replaced by those of another date. In a second experiment the states
# stay, and the one context vector between encoder and decoder is replaced.


# %%
@torch.no_grad()
def read(text):
    """Encode one source."""
    ids = torch.tensor(model.spec.source.encode([text]))
    return model.encode(ids, torch.tensor([ids.shape[1]]))


@torch.no_grad()
def write(memory):
    """Take the likeliest token at every step."""
    tokens, state = [START], None
    while tokens[-1] != END and len(tokens) < 40:
        answer, state = model.decode(torch.tensor([tokens[-1:]]), memory, state)
        tokens.append(int(model.head(answer)[0, -1].argmax()))
    return model.spec.target.decode([tokens])[0]


one, other = read("Sunday, November 22, 2026"), read("Monday, February 15, 2027")
day = [source.index("22"), source.index("22") + 1]
patched = one.states.clone()
patched[:, day] = read("Sunday, November 15, 2026").states[:, day]
print("as it is              ", write(one))
print("the day's two states  ", write(one._replace(states=patched)))
print("the context vector    ", write(one._replace(summary=other.summary)))
print("all states            ", write(other._replace(summary=one.summary)))

# %% [markdown]
# ## The four scores
#
# | score | $\operatorname{score}(s, h_i)$ | source |
# |---|---|---|
# | `dot` | $s \cdot h_i$ | Luong et al. 2015 |
# | `general` | $s \cdot W h_i$ | Luong et al. 2015 |
# | `additive` | $v \cdot \tanh(W s + U h_i)$ | Bahdanau et al. 2015 |
# | `scaled_dot` | $s \cdot h_i / \sqrt{d}$ | Vaswani et al. 2017 |
#
# Each is a line. (In the model, the matrix at $h_i$ is called `key`, the one at $s$ `query`.)

# %%
BY_HAND = {
    "dot": lambda s, h_i, _: s @ h_i,
    "general": lambda s, h_i, a: s @ (a.key.weight @ h_i),
    "additive": lambda s, h_i, a: a.v @ torch.tanh(a.query.weight @ s + a.key.weight @ h_i),
    "scaled_dot": lambda s, h_i, _: s @ h_i / math.sqrt(len(s)),
}


@torch.no_grad()
def is_equal(score, model):
    """Hold the scores of a model to the line above."""
    attention = model.decoder.combination.attention
    by_model = attention.scores(states, attention.read(memory.states))[0, step]
    by_hand = torch.stack([BY_HAND[score](s, h_i, attention) for h_i in h])
    return torch.allclose(by_model, by_hand, atol=1e-4)


# %% [markdown]
# We train a model with each of the other three, in the same way.

# %%
trained = {"general": (model, figures)}
for score in ("dot", "additive", "scaled_dot"):
    trained[score] = train(score)
for score, (model, figures) in trained.items():
    print(
        f"{score:10}  {sum(p.numel() for p in model.parameters()):,} parameters,"
        f"  exact match {figures['test/exact_match']:6.1%},"
        f"  equal to the line above: {is_equal(score, model)}"
    )

# %% [markdown]
# All four learn the task, and one run of each, tested on 1,000 dates, is no ranking. But they do
# not look at the same places:

# %%
figure, axes = plt.subplots(2, 2, figsize=(8, 7.4), layout="constrained")
for panel, (score, (model, _)) in zip(axes.flat, trained.items(), strict=True):
    with sl.record(model) as recording:
        model.generate([source])
    image = panel.imshow(recording.attention[name][0, 0], cmap="magma_r", vmin=0, vmax=1)
    answered, read_from = recording.labels(name)
    panel.set_xticks(range(len(read_from)), [c.replace(" ", "␣") for c in read_from], fontsize=6)
    panel.set_yticks(range(len(answered)), [c.replace(" ", "␣") for c in answered], fontsize=6)
    panel.set(title=score, xlabel="source", ylabel="written")
_ = figure.colorbar(image, ax=axes, label="attention weight", shrink=0.6)

# %% [markdown]
# The map of `scaled_dot` is the softest. States lie between −1 and 1, so no $s \cdot h_i$ exceeds
# $d$ and none of its scores $\sqrt d$, which is about 7 here: the softmax cannot decide as sharply.
# (In the Transformer, learned matrices stand before this score and may make it as large as it needs
# to be.) The answer is right even so: what a soft look brings together is enough.
#
# ## And where it falls short
#
# The context vector is no bottleneck any more. But encoder and decoder still go one step after
# another: $h_i$ waits for $h_{i-1}$, $s_t$ for $s_{t-1}$. Only attention itself needs no order: it
# looked at all states at once.
#
# ## What comes next
#
# If attention looks anywhere in one step, is the recurrence still needed? The
# [Transformer](transformer.md) leaves it out.
