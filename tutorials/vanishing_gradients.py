# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Vanishing gradients, on your own network
#
# **Claim.** "The clouds are in the …" needs a word that stands a few steps back, and a recurrent
# network learns it. "I grew up in Germany … I speak fluent …" needs one that stands far back, and
# the same network does not, although nothing else is different: on its way back through time the
# gradient has vanished before it gets there.
#
# In this tutorial a callback measures that gradient while a network learns, in your own training
# run; then five architectures stand on one axis. It takes about two minutes on two cores and
# downloads nothing.

# %%
import logging
import tempfile
import warnings

import lightning as L
import torch

import seqlearn as sl
from seqlearn.introspect import gradient_curves

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## Near and far
#
# `Recall` makes both sentences: a country, so many words that say nothing, and the question which
# language is spoken. With one word between they are neighbours, as clouds and sky are; with 40 they
# are not. All else is the same: countries, languages, words, number of texts.

# %%
distances = {"near": 1, "far": 40}
data = {
    name: sl.data.Recall(distance, batch_tokens=64 * (distance + 12))
    for name, distance in distances.items()
}
for name, module in data.items():
    text, language = next(iter(module.examples("test")))
    words = text.split()
    shown = text if len(words) < 16 else " ".join([*words[:11], "…", *words[-5:]])
    print(f"{name:5} {shown} → {language}")

# %% [markdown]
# ## A callback that looks back
#
# After each epoch `GradientFlow` takes the loss at the last target of a few texts and asks how it
# depends on every word that was read: $\lVert \partial\, \text{loss} / \partial\, x_t \rVert$, one
# number for each step $t$. It does so beside the training: no gradient of a weight is touched. With
# any logger that takes figures it draws there, otherwise into files.

# %%
recipe = sl.Recipe(lr=3e-3, warmup_steps=20, schedule="cosine")
logs = tempfile.TemporaryDirectory()


def trained(architecture, data, epochs, **arguments):
    """Train an architecture; answer with it and with what the callback saw."""
    settings = {"d_model": 64, "dropout": 0.0, "recipe": recipe} | arguments
    flow = sl.callbacks.GradientFlow(examples=32, directory=logs.name)
    model = architecture(data.spec, **settings)
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=flow,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        limit_val_batches=1,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, data)
    return model.eval(), flow


def accuracy(model, data):
    """The share of unseen texts that the model answers right."""
    texts, languages = zip(*data.examples("test"), strict=True)
    answers, _ = model.classify(texts)
    return sum(a == b for a, b in zip(answers, languages, strict=True)) / len(texts)


flows = {}
for name, module in data.items():
    model, flow = trained(sl.RNN, module, epochs=4)
    flows[name] = flow
    print(f"RNN, {name:5} {accuracy(model, module):6.1%} right; the gradient is {flow.verdict}")

# %% [markdown]
# One word away, the network learns; forty words away, it guesses one language in ten. The callback
# kept a curve for each look. Its last one, of both networks: how much does the loss depend on the
# word so many steps before the last?


# %%
def newest(flow):
    """The curve of the last look."""
    return flow.curves[max(flow.curves)]


figure = gradient_curves({f"RNN, {name}": newest(flow) for name, flow in flows.items()})
figure

# %% [markdown]
# A straight line on a logarithmic axis: at every step back the gradient is multiplied by about the
# same factor below one. Near, the country is four steps from the end and gets its share. Far, it
# stands 43 steps from the end, and what arrives there is a rounding error beside what the last
# words get. So training changes what the network does with the words near the end, which say
# nothing.
#
# The rule by which the callback says "vanishing": a straight line is fitted to the logarithm of
# the norms; if it falls by more than a factor of ten over the text, the gradient is vanishing, if
# it rises by more than that, exploding.
#
# ## Five architectures on one axis
#
# The same far texts, the same number of epochs, the same measurement:

# %%
architectures = {
    "GRU": (sl.GRU, {}),
    "LSTM": (sl.LSTM, {}),
    "attention": (sl.AttentionSeq2Seq, {"bidirectional": False}),
    "Transformer": (sl.Transformer, {"num_layers": 2, "num_heads": 4}),
}
curves = {"RNN": newest(flows["far"])}
for name, (architecture, arguments) in architectures.items():
    model, flow = trained(architecture, data["far"], epochs=4, **arguments)
    curves[name] = newest(flow)
    right = accuracy(model, data["far"])
    print(f"{name:12} {right:6.1%} right; the gradient is {flow.verdict}")
figure = gradient_curves(curves)
figure

# %% [markdown]
# With attention, and in the Transformer, a word far back is as near as any other: the loss reaches
# it in one step, and its curve has its peak at the country, wherever that stands. Gates hold the
# gradient better than the plain network does, as far as they are open
# ([LSTM and GRU](lstm_gru.md) shows when they are).
#
# ## What comes next
#
# The gradient is one thing to look at. [Looking inside](looking_inside.md) records all the others:
# attention, states and gates of a trained model, and plays them back.
