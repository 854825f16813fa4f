# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Vanishing gradients in your own network
#
# **Claim.** "The clouds are in the …" needs a word a few steps back, and a recurrent network learns
# it. "I grew up in Germany … I speak fluent …" needs one far back, and the same network does not
# learn it, although nothing else differs: on its way back through time, the gradient vanishes
# before it reaches the word.
#
# In this tutorial a callback measures that gradient during a training run of your own; then five
# architectures are compared. It takes about two minutes on two cores and downloads nothing.

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
# ## Short and long distance
#
# `Recall` generates both kinds of sentence: a country, a number of filler words, and the question
# which language is spoken. With one filler word the two are close, with 40 they are not. Everything
# else is equal: countries, languages, words, number of texts.

# %%
distances = {"short": 1, "long": 40}
data = {
    name: sl.data.Recall(distance, batch_tokens=64 * (distance + 12))
    for name, distance in distances.items()
}
for name, module in data.items():
    text, language = next(iter(module.examples("test")))
    words = text.split()
    shown = (
        text if len(words) < 16 else " ".join([*words[:11], "…", *words[-5:]])
    )
    print(f"{name:5} {shown} → {language}")

# %% [markdown]
# ## The callback
#
# After each epoch, `GradientFlow` takes the loss at the last target of a few texts and computes its
# gradient with respect to every input: $\lVert \partial\, \text{loss} / \partial\, x_t \rVert$, one
# number per step $t$. This does not affect the training: gradients of weights are not touched.
# Figures go to any logger that accepts them, and otherwise to files.

# %%
recipe = sl.Recipe(lr=3e-3, warmup_steps=20, schedule="cosine")
logs = tempfile.TemporaryDirectory()


def trained(architecture, data, epochs, **arguments):
    """Train an architecture; return the model and the callback."""
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
    """The accuracy on unseen texts."""
    texts, languages = zip(*data.examples("test"), strict=True)
    predictions, _ = model.classify(texts)
    right = sum(a == b for a, b in zip(predictions, languages, strict=True))
    return right / len(texts)


flows = {}
for name, module in data.items():
    model, flow = trained(sl.RNN, module, epochs=4)
    flows[name] = flow
    print(
        f"RNN, {name:5} {accuracy(model, module):6.1%} right; "
        f"the gradient is {flow.flow_class}"
    )

# %% [markdown]
# With one filler word the network learns; with forty it guesses one language in ten. The callback
# stores one curve per epoch. The last curve of both networks shows how much the loss depends on the
# word a given number of steps before the last:


# %%
# | fig-alt: Norm of the gradient by the number of steps before the last word, on a logarithmic
# |   axis, for the RNN trained at a short and at a long distance.
def last_curve(flow):
    """The curve of the last epoch."""
    return flow.curves[max(flow.curves)]


figure = gradient_curves(
    {f"RNN, {name}": last_curve(flow) for name, flow in flows.items()}
)
figure

# %% [markdown]
# On a logarithmic axis this is a straight line: at every step back, the gradient is multiplied by
# about the same factor below one. At the short distance, the country is four steps from the end and
# receives a part of the gradient. At the long distance it is 43 steps from the end, and its
# gradient is negligible compared with that of the last words. Training therefore changes how the
# network uses the words near the end, which carry no information.
#
# The callback classifies the curve by a rule: it fits a straight line to the logarithm of the
# norms. If the line falls by more than a factor of ten over the text, the gradient is vanishing; if
# it rises by more than that, it is exploding.
#
# ## Five architectures
#
# The same long-distance texts, the same number of epochs, the same measurement:

# %%
# | fig-alt: Norm of the gradient by the number of steps before the last word, on a logarithmic
# |   axis, for RNN, GRU, LSTM, attention and Transformer at the long distance.
architectures = {
    "GRU": (sl.GRU, {}),
    "LSTM": (sl.LSTM, {}),
    "attention": (sl.AttentionSeq2Seq, {"bidirectional": False}),
    "Transformer": (sl.Transformer, {"num_layers": 2, "num_heads": 4}),
}
curves = {"RNN": last_curve(flows["long"])}
for name, (architecture, arguments) in architectures.items():
    model, flow = trained(architecture, data["long"], epochs=4, **arguments)
    curves[name] = last_curve(flow)
    right = accuracy(model, data["long"])
    print(f"{name:12} {right:6.1%} right; the gradient is {flow.flow_class}")
figure = gradient_curves(curves)
figure

# %% [markdown]
# With attention and in the Transformer, a distant word is as close as any other: the loss reaches
# it in one step, and the curve has its peak at the country, wherever that is. Gates preserve the
# gradient better than the plain network does, to the extent that they are open ([LSTM and
# GRU](lstm_gru.md) shows when they are).
#
# ## Next
#
# [Introspection](introspection.md) records everything else: attention weights, states and gates of
# a trained model.
