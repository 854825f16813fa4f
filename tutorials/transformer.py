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
# target are trained in parallel; and what the model looks at can be seen. The price is a cost that
# grows with the square of the length.
#
# In this tutorial we train a small Transformer (Vaswani et al. 2017) to translate written-out
# dates, measure it on dates it never saw, look at its attention, and time it against an LSTM as
# the length grows. It takes about two minutes on two cores and downloads nothing.

# %%
import time
import warnings

import lightning as L
import matplotlib.pyplot as plt
import torch

import seqlearn as sl

warnings.filterwarnings("ignore", module="lightning")
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## The data
#
# `Dates` writes dates in any two locales of the CLDR. Every date is in one split only.

# %%
data = sl.data.Dates("en", "de", batch_tokens=2048)
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
    max_epochs=2,
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
recording.plot("decoder.layers.1.cross_attention")

# %% [markdown]
# Played back, all heads at each character that it writes: above what they see of the source, below
# what they see of the answer so far. Press play, or step with the arrow keys.

# %%
recording

# %% [markdown]
# ## Its speed against the LSTM
#
# An LSTM reads a text of $n$ tokens in $n$ steps, each of which waits for the one before. A
# Transformer reads it in as many steps as it has layers, however long the text is. But its
# attention compares each token with every other. Per layer of width $d$ (Vaswani et al. 2017,
# table 1):
#
# | | work | steps that wait for one another |
# |---|---|---|
# | recurrent | $n \cdot d^2$ | $n$ |
# | self-attention | $n^2 \cdot d$ | 1 |
#
# So there are two claims to measure, and they pull in opposite directions. We take two language
# models with about as many parameters, and time a training step, forward and backward, on one
# thread: in one series with 2,048 tokens in each batch (many short texts, or a few long ones), in
# the other with one text at a time.

# %%
text = sl.TextSpec(vocab_size=64, max_length=1024)
spec = sl.SequenceSpec(source=None, target=text)
models = {
    "LSTM": sl.LSTM(spec, d_model=128, num_layers=3, dropout=0.0),
    "Transformer": sl.Transformer(spec, d_model=128, num_layers=2, num_heads=4, dropout=0.0),
}
for name, language_model in models.items():
    parts = (language_model.target_embedding, language_model.decoder, language_model.head)
    used = sum(p.numel() for part in parts for p in part.parameters() if p.requires_grad)
    print(f"{name:12} {used:,} parameters")  # a language model uses no encoder

# %% [markdown]
# A clock is disturbed by whatever else the machine does. So we count CPU time instead of the time
# on the wall, let the models take turns, and keep the shortest of several times.


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
    """Microseconds for each token, by model and length; at least so many tokens in a batch."""
    times = {name: {} for name in models}
    for length in (16, 32, 64, 128, 256, 512, 1024):
        for _ in range(repeats):
            for name, model in models.items():
                batch_size = max(1, tokens // length)
                taken = step_time(model, batch_size, length) / (batch_size * length) * 1e6
                times[name][length] = min(taken, times[name].get(length, taken))
    return times


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
        print(f"{name:12}", *(f"{taken:6.1f}" for taken in times[name].values()))
    ratios = (times["LSTM"][length] / times["Transformer"][length] for length in times["LSTM"])
    print("LSTM / Tr.  ", *(f"{ratio:6.2f}" for ratio in ratios), "\n")

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharex=True, layout="constrained")
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
# (Figures of speed are those of one machine. The text below says what we found on ours; above is
# what the machine found that made this page.)
#
# The left picture first. With full batches the Transformer is *not* the faster one, at any length.
# What it need not wait for, a single thread does one after another all the same; and
# one step of the LSTM over many texts at once is a matrix product of good size, which keeps the
# thread as busy as it can be. With one text at a time (right) a step of the LSTM is a thin product
# of a matrix and a vector, while the Transformer still multiplies the whole text at once. There
# the two are close for short texts, and both pay the fixed cost of a call: a few tokens cannot
# share it.
#
# So "the Transformer is faster" is a sentence about machines that compute thousands of numbers at
# the same time, and then about the second column of the table above. One thread shows the first
# column.
#
# ## And where it falls short
#
# For the LSTM a token costs about the same in a short text and in a long one. For the Transformer
# it costs more, the more tokens there are to look at:

# %%
times = series["2,048 tokens in a batch"]
for name, taken in times.items():
    print(f"{name:12} a token among 1,024 costs {taken[1024] / taken[16]:.1f} × one among 16")

# %% [markdown]
# Each token of a longer text costs more, and there are more of them: the whole text costs the
# square. With memory it is the same. The table of weights alone has `heads × length²` entries:

# %%
for length in (100, 1_000, 10_000):
    print(f"{length:6} tokens: {4 * length**2 * 4 / 2**20:8.1f} MiB of weights for 4 heads")

# %% [markdown]
# (The fused kernel, which runs for longer texts, makes the table piece by piece and never holds
# the whole: that saves the memory, not the work.)
#
# ## What comes next
#
# [Vanishing gradients](vanishing_gradients.md) puts all stops of the road on one axis, and
# [Looking inside](introspection.md) plays back what your own model does. Here the road ends, and
# yours begins: every stop of it is compared on the same data on its
# [architecture page](../architectures/transformer.md), and
# [your own architecture](../get-started.md#your-own-architecture) is an encoder and a decoder.
