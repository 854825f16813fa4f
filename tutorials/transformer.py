# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # The Transformer
#
# **Claim.** A model with attention and no recurrence learns to translate; all positions of a target
# are trained in parallel ([teacher forcing](../glossary.md#teacher-forcing)); and its attention can
# be inspected. The price is a cost that grows with the square of the length.
#
# This tutorial trains a small Transformer (Vaswani et al. 2017) to translate written-out dates,
# tests it on unseen dates, inspects its attention, and compares its speed with that of an LSTM as
# the length grows. It takes about two minutes on two cores and downloads nothing.

# %%
import re
import time
import warnings

import lightning as L
import matplotlib.pyplot as plt
import torch

import seqlearn as sl
from seqlearn.introspect import DETAILED

warnings.filterwarnings("ignore", module="lightning")
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## Data
#
# `Dates` writes dates in any two locales of the CLDR. No date occurs in two splits.

# %%
data = sl.data.Dates("en", "de", batch_tokens=2048)
for source, target in list(data.examples("train"))[:3]:
    print(f"{source:35} {target}")
print(data.spec.source)

splits = {s: set(data.examples(s)) for s in ("train", "val", "test")}
assert not splits["test"] & (splits["train"] | splits["val"])
assert not splits["train"] & splits["val"]

# %% [markdown]
# Batches are planned before they are built: examples of similar length are put together, so that a
# batch has little padding.

# %%
data.setup("fit")
batch = next(iter(data.train_dataloader()))
print("source", tuple(batch.source.shape), "target", tuple(batch.target.shape))
padding = 1 - batch.source_lengths.sum() / batch.source.numel()
print(f"padding on the source side: {padding:.1%}")
assert padding < 0.1

# %% [markdown]
# ## Attention, step by step
#
# Attention takes three lines: scores, softmax, weighted sum. `seqlearn.nn` has this textbook form.
# The model uses the fastest kernel; tests compare the two.

# %%
from seqlearn.nn import attend, attention_scores, attention_weights

# batch heads time d_head
query, key, value = torch.randn(3, 1, 1, 4, 8).unbind(0)
scores = attention_scores(query, key)
weights = attention_weights(query, key)
context = weights @ value
print("scores \n", scores[0, 0].round(decimals=2))
print(
    "weights\n",
    weights[0, 0].round(decimals=2),
    "\nrows sum to",
    weights.sum(-1)[0, 0],
)
print(
    "equal to the fast path:",
    torch.allclose(context, attend(query, key, value), atol=1e-6),
)
assert torch.allclose(context, attend(query, key, value), atol=1e-5)
assert torch.allclose(weights.sum(-1), torch.ones(4), atol=1e-5)

# %% [markdown]
# ## The model
#
# `Transformer` names an encoder and a decoder, which follow two small protocols. The base module
# provides the rest.

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
options = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "gradient_clip_val": 1.0,
}
trainer = L.Trainer(max_epochs=2, **options)
trainer.fit(model, data)

# %% [markdown]
# ## Accuracy
#
# A translation counts as correct only if every character is correct.

# %%
(figures,) = trainer.test(model, data, verbose=False)
print(f"exact match on unseen dates: {figures['test/exact_match']:.1%}")
assert figures["test/exact_match"] > 0.9
examples = list(data.examples("test"))[:4]
outputs = model.generate([source for source, _ in examples])
for (source, _), output in zip(examples, outputs, strict=True):
    print(f"{source:35} {output}")

# %% [markdown]
# ## Attention maps
#
# `record` captures the attention weights of every layer and head during generation. They are
# computed in addition to the kernel, so recording does not change any output.

# %%
source = examples[0][0]
with sl.record(model, what=DETAILED) as recording:
    output = model.generate([source])
print(output[0])
assert output == outputs[:1]
for name, weights in recording.attention.items():
    print(f"{name:30} {tuple(weights.shape)}")

# %% [markdown]
# Each row is a generated character, each column a source character. This is the
# [cross-attention](../glossary.md#cross-attention) of the last layer: rows of the month's name
# attend more to the month in the source than to the day, rows of the day to the day.

# %%
# | fig-alt: Heat maps of the cross-attention of the last layer, one for each head: rows are
# |   generated characters, columns characters of the source.
# | fig-cap: Cross-attention of the last layer, head by head.
recording.plot("decoder.layers.1.cross_attention")

# %% [markdown]
# One picture is one date. Over fifty dates: how much of the attention, of all heads together, is on
# the month and on the day of the source, with one character on each side of them?

# %%
dates = [str(source) for source, _ in data.examples("test")][:50]
with sl.record(model) as fifty:
    translated = model.generate(dates)
heads = fifty.attention["decoder.layers.1.cross_attention"].mean(1)


def spans(text, start):
    """Two parts of a date, separated by one character or two."""
    first, second = re.findall(r"\w+", text[start:])[:2]
    end = start + len(first)
    other = text.index(second, end)
    return slice(start, end), slice(other, other + len(second))


on = {(row, part): [] for row in ("month", "day") for part in ("month", "day")}
for each, date, german in zip(heads, dates, translated, strict=True):
    source_month, source_day = spans(date, date.index(", ") + 2)
    first = re.search(r"\d", german).start()
    target_day, target_month = spans(german, first)
    for row, steps in (("month", target_month), ("day", target_day)):
        for part, place in (("month", source_month), ("day", source_day)):
            near = slice(place.start - 1, place.stop + 1)
            on[row, part].append(float(each[steps, near].sum(-1).mean()))
on = {pair: sum(shares) / len(shares) for pair, shares in on.items()}
for (row, part), share in on.items():
    print(f"rows of the {row:5}: {share:4.0%} on the {part}")
assert on["month", "month"] > on["month", "day"]
assert on["day", "day"] > on["day", "month"]
assert on["month", "month"] > 2 * on["day", "month"]
assert on["day", "day"] > 2 * on["month", "day"]

# %% [markdown]
# The viewer shows all heads for each generated character: above their attention to the source,
# below their [causal self-attention](../glossary.md#causal-self-attention) to the output so far.
# Press play, or step with the arrow keys.

# %%
recording.view(opens="multi_head_per_token", title="Heads of a Transformer")

# %% [markdown]
# ## Words in another order
#
# On words the maps can be read like a sentence. In German, the verb after "can" is the last word,
# and after "today" the conjugated verb comes before the subject, so the translation cannot follow
# the source from left to right. A Transformer of the same size learns these sentences of a small
# grammar in seconds.

# %%
sentences = sl.data.Sentences(batch_tokens=1024)
translator = sl.Transformer(
    sentences.spec,
    d_model=64,
    num_layers=2,
    num_heads=4,
    dropout=0.0,
    recipe=sl.Recipe(lr=3e-3, warmup_steps=50, schedule="cosine"),
)
trainer = L.Trainer(max_epochs=4, **options)
trainer.fit(translator, sentences)
(figures,) = trainer.test(translator, sentences, verbose=False)
print(f"exact match on unseen sentences: {figures['test/exact_match']:.1%}")
assert figures["test/exact_match"] > 0.9

english = "today the big dog can see a small mouse"
with sl.record(translator, what=DETAILED) as on_words:
    (german,) = translator.generate([english])
print(english, "→", german)
assert german == "heute kann der große Hund eine kleine Maus sehen"

# %%
# | fig-alt: Heat maps of the cross-attention of the last layer on words, one for each head. Large
# |   weights lie near the diagonal, except in the rows of "kann" and "sehen".
# | fig-cap: Cross-attention on words, head by head.
on_words.plot("decoder.layers.1.cross_attention")

# %% [markdown]
# No head is a complete dictionary, and the heads differ. Their mean is one: it has the largest
# weight of nearly each row at the word that is translated there. "kann" is generated second and
# attends to the fifth word of the source, "sehen" is generated last and attends to the sixth.
# "eine" attends more to "mouse" than to "a", because the gender of the noun decides the article.

# %%
mean = on_words.attention["decoder.layers.1.cross_attention"][0].mean(0)
sources = english.split()
read = {}
for word, row in zip(german.split(), mean, strict=False):
    read[word] = sources[int(row.argmax())]
    print(f"{word:7} attends to {read[word]:6} {row.max():.0%}")
assert read["kann"] == "can"
assert read["sehen"] == "see"
assert read["kleine"] == "small"
assert read["eine"] == "mouse"
right = {"heute": "today", "große": "big", "Hund": "dog", "Maus": "mouse"}
assert sum(read[word] == english for word, english in right.items()) >= 3

# %% [markdown]
# ## One head, step by step
#
# The weights of a head come from three projections of its inputs. The query of the word that is
# being written is multiplied with the key of each word of the source; the products, divided by the
# square root of their width, are the scores. Their softmax gives the weights, and the sum of the
# values with these weights is what the head reports. The viewer shows this for each word: step with
# the arrow keys, and choose another head or layer above the picture. (`DETAILED` records the
# projections and the scores as well.)

# %%
layer = "decoder.layers.1.cross_attention"
scores = on_words["scores"][layer]
weights = scores.softmax(-1)
difference = (weights - on_words.attention[layer]).abs().max()
print(f"largest difference {float(difference):.0e}")
assert torch.allclose(weights, on_words.attention[layer], atol=1e-5)
on_words.view(opens="query_key_value", title="One head of a Transformer")

# %% [markdown]
# ## Positions
#
# The order of the words is in none of this (exercise 2 shows why that matters). So the encoding of
# its position is added to each embedding: sines and cosines. In the map, the waves of the first
# units are fast and those of the last are slow, so that neighbors are alike, and positions that are
# further apart less so.

# %%
encodings = on_words["positions"]["encoder.positions"][0]
alike = {
    distance: float(
        torch.cosine_similarity(
            encodings[distance:], encodings[:-distance], dim=-1
        ).mean()
    )
    for distance in (1, 2, 4, 6)
}
for distance, share in alike.items():
    print(f"{distance} apart: cosine {share:.2f}")
assert list(alike.values()) == sorted(alike.values(), reverse=True)
on_words.view(opens="positions", title="The positions of a Transformer")

# %% [markdown]
# ## Speed compared with the LSTM
#
# An LSTM processes a text of $n$ tokens in $n$ sequential steps. A Transformer processes it in as
# many steps as it has layers, however long the text is. But its attention compares each token with
# every other. Per layer of width $d$ (Vaswani et al. 2017, table 1):
#
# | layer | operations | sequential steps |
# |---|---|---|
# | recurrent | $n \cdot d^2$ | $n$ |
# | self-attention | $n^2 \cdot d$ | 1 |
#
# The two columns predict opposite results. We take two language models with about the same number
# of parameters and time a training step, forward and backward, on one thread. One series has 2,048
# tokens in each batch (many short texts, or a few long ones), the other one text at a time.

# %%
text = sl.TextSpec(vocab_size=64, max_length=1024)
spec = sl.SequenceSpec(source=None, target=text)
models = {
    "LSTM": sl.LSTM(spec, d_model=128, num_layers=3, dropout=0.0),
    "Transformer": sl.Transformer(
        spec, d_model=128, num_layers=2, num_heads=4, dropout=0.0
    ),
}

# %% [markdown]
# Other processes disturb wall-clock time. We therefore measure CPU time, alternate between the
# models, and take the minimum of several measurements.


# %%
def step_time(model, batch_size, length):
    """Seconds of CPU time for one training step."""
    tokens = torch.randint(4, text.vocab_size, (batch_size, length + 1))
    lengths = torch.full((batch_size,), length + 1)
    batch = sl.SequenceBatch(None, None, target=tokens, target_lengths=lengths)
    start = time.process_time()
    model.compute_loss(batch).loss.backward()
    return time.process_time() - start


def compare(tokens, repeats=5):
    """Microseconds per token, by model and length.

    A batch has at least this many tokens.
    """
    times = {name: {} for name in models}
    for length in (16, 32, 64, 128, 256, 512, 1024):
        for _ in range(repeats):
            for name, model in models.items():
                batch_size = max(1, tokens // length)
                taken = step_time(model, batch_size, length) * 1e6
                taken /= batch_size * length
                times[name][length] = min(taken, times[name].get(length, taken))
    return times


sizes = []
for name, language_model in models.items():
    step_time(language_model, 1, 16)
    # Those in use have a gradient: a language model uses no encoder
    used = [
        p.numel() for p in language_model.parameters() if p.grad is not None
    ]
    sizes.append(sum(used))
    print(f"{name:12} {sum(used):,} parameters")
assert max(sizes) < 1.1 * min(sizes)

threads = torch.get_num_threads()
torch.set_num_threads(1)
series = {
    "2,048 tokens in a batch": compare(2048),
    "one text at a time": compare(1),
}
torch.set_num_threads(threads)

# %%
for title, times in series.items():
    print(f"{title}: microseconds for each token")
    print("length      ", *(f"{length:6}" for length in times["LSTM"]))
    for name in models:
        print(
            f"{name:12}", *(f"{taken:6.1f}" for taken in times[name].values())
        )
    pairs = zip(*(times[name].values() for name in models), strict=True)
    shown = (f"{lstm / other:6.2f}" for lstm, other in pairs)
    print("LSTM / Tr.  ", *shown, "\n")

# %%
# | fig-alt: Two plots of the CPU time for each token by length, for LSTM and Transformer. The
# |   titles say how the batches were made.
# | fig-cap: CPU time for each token by length.
figure, axes = plt.subplots(
    1, 2, figsize=(9, 3.6), sharex=True, layout="constrained"
)
for panel, (title, times) in zip(axes, series.items(), strict=True):
    for (name, taken), style in zip(times.items(), ("o-", "s--"), strict=True):
        panel.plot(list(taken), list(taken.values()), style, label=name)
    panel.set_xscale("log", base=2)
    panel.set_xticks(list(taken), list(taken))
    panel.set(title=title, xlabel="length (tokens)", ylim=(0, None))
    panel.grid(alpha=0.3)
axes[0].set_ylabel("CPU time for each token (µs)")
_ = axes[0].legend()

# %% [markdown]
# (Speed depends on the machine. The text below describes our results; the plots above are from
# the machine that built this page.)
#
# First the left plot. With full batches the Transformer is *not* faster, at any length. A single
# thread executes its parallel operations one after another; and one step of the LSTM over many
# texts is a matrix product large enough to keep the thread busy. With one text at a time (right), a
# step of the LSTM is a matrix–vector product, while the Transformer still multiplies the whole text
# at once. There the two are close for short texts, where the fixed overhead of a call dominates.
# The Transformer is ahead for texts of medium length, and loses this lead towards the longest ones.
#
# So "the Transformer is faster" holds for hardware that computes thousands of numbers in parallel,
# where the second column of the table matters. A single thread shows the first column.
#
# ## Limitations
#
# With the LSTM, a token costs about the same in a short text and in a long one. With the
# Transformer it costs more, the more tokens there are to attend to:

# %%
times = series["2,048 tokens in a batch"]
growth = {name: taken[1024] / taken[16] for name, taken in times.items()}
for name, ratio in growth.items():
    print(f"{name:12} a token among 1,024 costs {ratio:.1f} × one among 16")

# %% [markdown]
# Each token of a longer text costs more, and there are more of them: the part of the cost that
# attention has grows with the square of the length. So does memory. The matrix of weights alone has
# `heads × length²` entries:

# %%
for length in (100, 1_000, 10_000):
    print(
        f"{length:6} tokens: {4 * length**2 * 4 / 2**20:8.1f} MiB "
        "of weights for 4 heads"
    )

# %% [markdown]
# (The fused kernel, which is used for longer texts, computes this matrix in blocks and never stores
# all of it. That saves memory, not operations.)
#
# ## Exercises
#
# **1.** By the table above, from which length on does self-attention need more operations than a
# recurrent layer of width 128? And from which length on is attention more than half of the work of
# a Transformer layer? Each token passes through the matrices of the layer once; scores and weighted
# sum need $2 n d$ multiplications for each token.
#
# <details markdown>
# <summary>Solution</summary>

# %%
width = 128
layer = models["Transformer"].decoder.layers[0]
matrices = sum(
    p.numel() for p in layer.parameters() if p.grad is not None and p.dim() == 2
)
print(f"the matrices of one layer: {matrices / width**2:.0f} d² weights")
half = matrices / (2 * width)
print(f"attention is half of the work at {half:.0f} tokens")
assert matrices == 12 * width**2
assert half == 6 * width

# %% [markdown]
# By the table, from $n = d$ on, which is 128. But the matrices of the layer (queries, keys, values,
# output, and the feed-forward part) have $12\, d^2$ weights, whose cost for a token does not depend
# on the length. $2 n d = 12\, d^2$ at $n = 6 d = 768$. So the square is seen late in the measured
# times.
#
# </details>
#
# **2.** What tells attention the order of its keys? Show with `attend` that nothing does: with keys
# and values in another order, the output is the same.
#
# <details markdown>
# <summary>Solution</summary>

# %%
query, key, value = torch.randn(3, 1, 1, 6, 8).unbind(0)
order = torch.tensor([3, 1, 5, 0, 4, 2])
usual = attend(query, key, value)
mixed = attend(query, key[:, :, order], value[:, :, order])
print("largest difference:", f"{float((usual - mixed).abs().max()):.0e}")
assert torch.allclose(usual, mixed, atol=1e-5)
only_keys = attend(query, key[:, :, order], value)
assert not torch.allclose(usual, only_keys, atol=1e-2)

# %% [markdown]
# A weighted sum has no order. The Transformer knows positions only because their encodings are
# added to the embeddings, and, in a decoder, because of the causal mask.
#
# </details>
#
# **3.** Write causal attention, in which no position attends to a later one, and compare it with
# `attend(…, causal=True)`. Then change the last key and value: which outputs change? What does
# this have to do with training in parallel?
#
# <details markdown>
# <summary>Solution</summary>

# %%
later = torch.ones(6, 6, dtype=torch.bool).triu(1)
scores = attention_scores(query, key).masked_fill(later, -torch.inf)
weights = scores.softmax(-1)
print(weights[0, 0].round(decimals=2))
causal = attend(query, key, value, causal=True)
assert torch.allclose(weights @ value, causal, atol=1e-5)
assert (weights[0, 0].triu(1) == 0).all()

key[:, :, -1] += 1
value[:, :, -1] += 1
changed = attend(query, key, value, causal=True) - causal
changed = changed.abs().amax((0, 1, 3)) > 1e-5
print("changed:", changed.tolist())
assert changed.tolist() == [False] * 5 + [True]

# %% [markdown]
# $e^{-\infty} = 0$, so the softmax divides the weight among the positions that are left. Only the
# last output changes. Each position is computed as if the text ended there; that is why one pass
# over the whole target trains all of its positions.
#
# </details>
#
# ## Next
#
# [Vanishing gradients](vanishing_gradients.md) compares the gradients of all architectures, and
# [Introspection](introspection.md) records what your own model computes. The pages of the
# architectures compare their results on the same data
# ([Transformer](../architectures/transformer.md)). [Your own
# architecture](../get-started.md#your-own-architecture) is an encoder and a decoder.
