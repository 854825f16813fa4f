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
import math
import tempfile
import warnings

import lightning as L
import numpy as np
import torch

import seqlearn as sl
from seqlearn.introspect import classify_gradient_flow, gradient_curves

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

short_spec, long_spec = (module.spec for module in data.values())
assert short_spec.target.labels == long_spec.target.labels
assert short_spec.source.vocab_size == long_spec.source.vocab_size

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


flows, right = {}, {}
for name, module in data.items():
    model, flow = trained(sl.RNN, module, epochs=4)
    flows[name], right[name] = flow, accuracy(model, module)
    print(
        f"RNN, {name:5} {right[name]:6.1%} right; "
        f"the gradient is {flow.flow_class}"
    )

assert right["short"] > 0.9
assert right["long"] < 0.2
assert all(len(flow.curves) == 4 for flow in flows.values())

# %% [markdown]
# With one filler word the network learns; with forty it guesses one language in ten. The callback
# stores one curve per epoch. The last curve of both networks shows how much the loss depends on the
# word a given number of steps before the last:


# %%
# | fig-alt: Norm of the gradient by the number of steps before the last word, on a logarithmic
# |   axis, for the RNN trained at a short and at a long distance.
# | fig-cap: Gradient of an RNN trained at a short and at a long distance.
def last_curve(flow):
    """The curve of the last epoch."""
    return flow.curves[max(flow.curves)]


figure = gradient_curves(
    {f"RNN, {name}": last_curve(flow) for name, flow in flows.items()}
)
figure

# %%
near, far = last_curve(flows["short"]), last_curve(flows["long"])
per_step = (far[40] / far[5]) ** (1 / 35)
print(f"long: multiplied by {per_step:.2f} at each step back, on average")
print(f"country / last word: short {near[4] / near[0]:.0e}", end=", ")
print(f"long {far[43] / far[0]:.0e}")
fitted = np.polynomial.Polynomial.fit(range(5, 44), np.log(far[5:44]), 1)
residual = np.log(far[5:44]) - fitted(np.arange(5, 44))
assert residual.var() < 0.05 * np.log(far[5:44]).var()  # a straight line
assert per_step < 0.95
assert near[4] > 0.01 * near[0]
assert far[43] < 1e-4 * far[0]

# %% [markdown]
# On a logarithmic axis this is a straight line: at every step back, the gradient is multiplied by
# about the same factor below one. At the short distance, the country is four steps from the end and
# receives a part of the gradient. At the long distance it is 43 steps from the end, and its
# gradient is negligible compared with that of the last words. Training therefore changes how the
# network uses the words near the end, which carry no information.
#
# The callback classifies the curve by a rule: it fits a straight line to the logarithm of the
# norms. If the line falls by more than a factor of ten over the text, the gradient is vanishing; if
# it rises by more than that, it is exploding. Both RNNs have a vanishing gradient. It prevents
# learning only where the needed word is out of its reach (exercise 2).
#
# ## Five architectures
#
# The same long-distance texts, the same number of epochs, the same measurement:

# %%
# | fig-alt: Norm of the gradient by the number of steps before the last word, on a logarithmic
# |   axis, for RNN, GRU, LSTM, attention and Transformer at the long distance.
# | fig-cap: Gradient by distance for five architectures.
architectures = {
    "GRU": (sl.GRU, {}),
    "LSTM": (sl.LSTM, {}),
    "attention": (sl.AttentionSeq2Seq, {"bidirectional": False}),
    "Transformer": (sl.Transformer, {"num_layers": 2, "num_heads": 4}),
}
curves, shares = {"RNN": far}, {"RNN": right["long"]}
for name, (architecture, arguments) in architectures.items():
    model, flow = trained(architecture, data["long"], epochs=4, **arguments)
    curves[name], shares[name] = last_curve(flow), accuracy(model, data["long"])
    print(
        f"{name:12} {shares[name]:6.1%} right; "
        f"the gradient is {flow.flow_class}"
    )
figure = gradient_curves(curves)
figure

# %%
left = {name: curve[43] / curve[0] for name, curve in curves.items()}
for name, share in left.items():
    peak = int(curves[name].argmax())
    print(
        f"{name:12} peak {peak:2} steps back; country / last word {share:.0e}"
    )

for name in ("attention", "Transformer"):
    assert curves[name].argmax() == 43  # the country
    assert shares[name] > 0.9
assert left["RNN"] < 0.3 * left["GRU"]
assert left["RNN"] < 1e-3 * left["LSTM"]

# %% [markdown]
# With attention and in the Transformer, a distant word is as close as any other: the loss reaches
# it in one step, and the curve has its peak at the country, wherever that is. Gates preserve the
# gradient better than the plain network does, to the extent that they are open ([LSTM and
# GRU](lstm_gru.md) shows when they are).
#
# ## Exercises
#
# **1.** At the long distance, after how many steps back is a thousandth of the gradient left?
# Compute it from the factor per step that is printed above, and compare with the curve.
#
# <details markdown>
# <summary>Solution</summary>

# %%
computed = math.log(1e-3) / math.log(per_step)
measured = int((far[5:] < 1e-3 * far[5]).argmax())
print(f"computed {computed:.0f} steps, measured {measured} (from the fifth on)")
assert abs(computed - measured) < 0.35 * computed

# %% [markdown]
# After $k$ steps $f^k$ is left of the gradient, so $k = \ln 0.001 / \ln f$. We count from the fifth
# step, because the last words are a part of the question and their embeddings differ from those of
# the filler words.
#
# </details>
#
# **2.** The callback calls the gradient of both RNNs vanishing, but one of them learns. Is the rule
# wrong? Apply `classify_gradient_flow` to the steps from the country to the end only.
#
# <details markdown>
# <summary>Solution</summary>

# %%
for name, curve, steps in (("short", near, 5), ("long", far, 44)):
    # A batch of one curve, in the order of time
    norms = torch.tensor(curve[:steps][::-1].copy())[None]
    found = classify_gradient_flow(norms)
    print(
        f"{name:5} whole text: {flows[name].flow_class}; needed part: {found}"
    )
    assert flows[name].flow_class == "vanishing"
    assert (found == "vanishing") == (name == "long")

# %% [markdown]
# The rule describes the whole text: over it, both gradients fall by more than a factor of ten. It
# does not know which words the task needs. At the short distance the needed word is four steps
# back, and over these steps little is lost. A vanishing gradient is harmful only if what must be
# learned lies beyond its reach.
#
# </details>
#
# **3.** The forget gate of an LSTM starts at $\sigma(1) = 0.73$. What is left of a cell after 43
# steps? Choose a bias so that at least a third is left, train an LSTM with it (`forget_bias=…`),
# and compare with the LSTM above.
#
# <details markdown>
# <summary>Solution</summary>

# %%
# | fig-alt: Norm of the gradient by the number of steps before the last word, on a logarithmic
# |   axis, for the LSTM with a forget bias of 1 and with a forget bias of 4.
# | fig-cap: Gradient of an LSTM with two biases of its forget gate.
for bias in (1, 2, 3, 4):
    gate = 1 / (1 + math.exp(-bias))
    left_of_it = f"after 43 steps {gate**43:.1e} is left"
    print(f"bias {bias}: gate {gate:.3f}, {left_of_it}")
model, flow = trained(sl.LSTM, data["long"], epochs=4, forget_bias=4.0)
share = accuracy(model, data["long"])
assert shares["LSTM"] < 0.5
print(f"forget_bias=4: {share:.1%} right; the gradient is {flow.flow_class}")
assert (1 + math.exp(-3)) ** -43 < 1 / 3 < (1 + math.exp(-4)) ** -43
assert share > 0.9
curve = last_curve(flow)
assert curve[43] / curve[0] > 10 * left["LSTM"]
figure = gradient_curves(
    {"LSTM, bias 1": curves["LSTM"], "LSTM, bias 4": curve}
)
figure

# %% [markdown]
# The gradient of the cell is multiplied by the forget gate at each step. With a bias of 4 nearly
# half of it is left at the country before the first training step, and the same architecture learns
# in four epochs what it did not learn before.
#
# </details>
#
# ## Next
#
# [Introspection](introspection.md) records everything else: attention weights, states and gates of
# a trained model.
