# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Your own architecture, checked against the laws
#
# **Claim.** An architecture is an encoder and a decoder; the base class provides everything else.
# The laws find, within seconds, an error that no loss curve shows, and give the smallest example of
# it.
#
# This tutorial builds a recurrent network that is not in the library, makes a common error, trains
# it without any sign of the error, finds the error with the laws, fixes it, and measures how far
# the network remembers. It takes about two minutes on two cores and downloads nothing. The laws
# need the extra `testing`: `pip install -c constraints.txt '.[testing]'` in a clone of seqlearn.

# %%
import logging
import time
import warnings
from typing import Unpack

import lightning as L
import torch
from torch import nn
from torch.nn import functional

import seqlearn as sl
from seqlearn.testing import LawsViolated, check_module

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## A recurrent unit that is parallel over time
#
# An LSTM is slow because its gates depend on the previous state. In the minimal GRU of Feng et al.
# 2024 ("Were RNNs all we needed?", section 3.1) they depend on the input only:
#
# $$ z_t = \sigma(W_z x_t) \qquad h_t = (1 - z_t) \odot h_{t-1} + z_t \odot W_h x_t $$
#
# All gates can be computed in advance. The remaining recurrence, $h_t = a_t h_{t-1} + b_t$, needs
# no loop over the steps: two consecutive steps combine to one of the same form, so pairs are
# combined, then pairs of pairs (a parallel scan). A text of a thousand words takes ten rounds.


# %%
class MinGRU(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.project = nn.Linear(d_model, 2 * d_model)
        # z starts at 0.12: nearly closed
        nn.init.constant_(self.project.bias[:d_model], -2.0)

    def forward(self, x, h, mask=None):
        gate, candidate = self.project(x).chunk(2, -1)
        z = gate.sigmoid()
        if mask is not None:
            z = z * mask[..., None]  # padding leaves the state as it is
        a, b = 1 - z, z * candidate
        b = torch.cat([b[:, :1] + a[:, :1] * h[:, None], b[:, 1:]], 1)
        offset = 1
        while offset < x.shape[1]:
            before_a, before_b = (
                functional.pad(s, (0, 0, offset, -offset)) for s in (a, b)
            )
            a, b = a * before_a, b + a * before_b
            offset *= 2
        return b, torch.cat([h[:, None], b], 1)[:, -1]


# %% [markdown]
# The scan gives the same states as the equation, step by step:

# %%
with torch.random.fork_rng(), torch.no_grad():
    layer = MinGRU(8)
    x, h = torch.randn(2, 100, 8), torch.randn(2, 8)
    states, last = layer(x, h)
    gate, candidate = layer.project(x).chunk(2, -1)
    for t in range(100):
        z = gate[:, t].sigmoid()
        h = (1 - z) * h + z * candidate[:, t]
        assert torch.allclose(states[:, t], h, atol=1e-5)
print("equal to a loop:", torch.allclose(last, h, atol=1e-5))
assert torch.allclose(last, h, atol=1e-5)
assert 2**9 < 1000 <= 2**10  # ten rounds for a thousand words


# %% [markdown]
# ## An encoder, a decoder, and a module that names them
#
# The encoder is bidirectional and returns a `Memory`: all its states, the mask, and one vector for
# the whole source. The decoder takes that vector as its initial state. It returns its outputs and
# its state; in [incremental decoding](../glossary.md#incremental-decoding), it gets the state back
# with the next token.


# %%
class Encoder(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.forward_layer = MinGRU(d_model)
        self.backward_layer = MinGRU(d_model)
        self.join = nn.Linear(2 * d_model, d_model)

    def reverse(self, x, mask):
        return x.flip(1)

    def forward(self, inputs, mask):
        zeros = inputs.new_zeros(inputs.shape[0], inputs.shape[2])
        one, last = self.forward_layer(inputs, zeros, mask)
        other, first = self.backward_layer(
            self.reverse(inputs, mask), zeros, mask
        )
        states = self.join(torch.cat([one, self.reverse(other, mask)], -1))
        pooled = self.join(torch.cat([last, first], -1)).tanh()
        return sl.Memory(states, mask, pooled * mask.any(1, keepdim=True))


class Decoder(nn.Module):
    def __init__(self, d_model):
        super().__init__()
        self.layer = MinGRU(d_model)

    def forward(self, inputs, memory, state=None):
        if state is None:
            zeros = inputs.new_zeros(inputs.shape[0], inputs.shape[2])
            state = zeros if memory is None else memory.pooled
        return self.layer(inputs, state)


class Draft(sl.SequenceModule):
    def __init__(self, spec, d_model: int = 64, **base: Unpack[sl.BaseOptions]):
        super().__init__(spec, d_model=d_model, **base)
        self.encoder, self.decoder = Encoder(d_model), Decoder(d_model)


# %% [markdown]
# The base class adds training step, loss, metrics, checkpoints, beam search and a command line
# (`seqlearn fit --model my_package.Draft --data Dates`), for every task. We train it: in which
# language is a date written?


# %%
def trained(model, data, epochs):
    """Train; return the model and the time in seconds."""
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        limit_val_batches=1,
        num_sanity_val_steps=0,
    )
    start = time.perf_counter()
    trainer.fit(model, data)
    return model.eval(), time.perf_counter() - start


def accuracy(model, data):
    """The accuracy on unseen texts."""
    texts, labels = zip(*data.examples("test"), strict=True)
    predictions, _ = model.classify(texts)
    right = sum(a == b for a, b in zip(predictions, labels, strict=True))
    return right / len(texts)


recipe = sl.Recipe(lr=1e-2, warmup_steps=20, schedule="cosine")
dates = sl.data.Dates("en", "de", task="sequence-to-vector", batch_tokens=4096)
draft, seconds = trained(Draft(dates.spec, recipe=recipe), dates, epochs=1)
share = accuracy(draft, dates)
print(f"test accuracy {share:.1%}")
assert share > 0.4  # chance: one in ten

# %% [markdown]
# It learns, and nothing looks wrong. But is it correct?
#
# ## The laws
#
# `check_module` tests the module on six small specs, with random weights, on batches drawn by
# [hypothesis](https://hypothesis.readthedocs.io): texts of zero, one and many tokens. A failing
# case is reduced to the smallest one, and all violated laws are listed in one error at the end.


# %%
def violations(architecture, laws=None):
    """The names of the violated laws, and the message that describes them."""
    try:
        check_module(
            lambda spec: architecture(spec, d_model=6), laws=laws, examples=10
        )
    except LawsViolated as error:
        return set(error.report.violated), str(error)
    return set(), ""


violated, message = violations(Draft)
print(message.split("\n\n")[0])
assert violated >= {"padding", "batch invariance", "no cross-example gradient"}

# %% [markdown]
# Padding changes the output. `reverse` reverses the whole row, so that the backward layer reads the
# padding of a short text before its words, and the mask no longer matches. Law 3 fails twice: the
# output must not depend on more padding, nor on the other examples ([batch
# invariance](../glossary.md#batch-invariance)). Law 4 finds the same error in the gradient. With
# padding in between, so small a network may also fail to [overfit a small
# batch](../glossary.md#overfit-a-batch) (law 8). The trained network, on one date, alone and
# together with a longer text:

# %%
date = "Dec 25, 2026"
alone = draft.classify([date])[1]
batched = draft.classify([date, "Donnerstag, 31. Dezember 2026"])[1][:1]
for how, probabilities in (("alone", alone), ("in a batch", batched)):
    print(
        f"{date} {how:10}: "
        + ", ".join(f"{p:.4f}" for p in probabilities[0].tolist())
    )
assert not torch.allclose(alone, batched, atol=1e-3)

# %% [markdown]
# The output for a text depends on the other texts in the batch. Test accuracy does not show this,
# because test batches are padded in the same way as training batches.
#
# ## The fix
#
# Each row has to be reversed within its length. `seqlearn.nn.reverse_padded` does that; seqlearn's
# own recurrent layers use it.


# %%
class FixedEncoder(Encoder):
    def reverse(self, x, mask):
        return sl.nn.reverse_padded(x, mask)


class Mine(sl.SequenceModule):
    def __init__(self, spec, d_model: int = 64, **base: Unpack[sl.BaseOptions]):
        super().__init__(spec, d_model=d_model, **base)
        self.encoder, self.decoder = FixedEncoder(d_model), Decoder(d_model)


report = check_module(lambda spec: Mine(spec, d_model=6), examples=10)
print(report)
assert not report.violated
assert len(report.serves) == 6
assert "incremental decoding" in report.held
assert {"attention weights", "attention output"} <= set(report.not_checked)

# %% [markdown]
# All applicable laws hold. The two attention laws are *not checked*, because this module records no
# attention weights. Law 5 is the critical one for such a unit: one step at a time, with the state
# passed on, gives the same as all steps at once.
#
# ## How far does it remember?
#
# "I grew up in Germany … I speak fluent …", with a hundred filler words in between. The state is
# preserved over these words almost unchanged if the gate learns to close for them. An LSTM can do
# the same; its forget gate starts at 0.73, or at 0.98 with `forget_bias=4`. Recipe and texts
# (4,000) are the same for all.

# %%
recall = sl.data.Recall(100, batch_tokens=64 * 112)
recipe = sl.Recipe(lr=3e-3, warmup_steps=20, schedule="cosine")
networks = {
    "RNN": (sl.RNN, {"dropout": 0.0}),
    "LSTM": (sl.LSTM, {"dropout": 0.0}),
    "LSTM, gate open": (sl.LSTM, {"dropout": 0.0, "forget_bias": 4.0}),
    "minimal GRU": (Mine, {}),
}
shares = {}
for name, (architecture, arguments) in networks.items():
    _ = L.seed_everything(0, verbose=False)
    network = architecture(recall.spec, d_model=64, recipe=recipe, **arguments)
    network, seconds = trained(network, recall, epochs=4)
    shares[name] = accuracy(network, recall)
    print(f"{name:16} accuracy {shares[name]:6.1%} after {seconds:3.0f} s")
assert shares["RNN"] < 0.3
assert shares["minimal GRU"] > shares["RNN"] + 0.3

# %% [markdown]
# Chance is one in ten. The figures are those of this recipe, this number of texts and this seed;
# they change with them.

# %% [markdown]
# ## Tests of your own
#
# One test for each law, in a file that pytest collects:
#
# ```python
# from seqlearn.testing import module_checks
#
#
# @module_checks([Mine])
# def test_mine(check):
#     check()
# ```
#
# List a law that your module is known to violate, with the reason: `expected_failures={"bf16":
# "computes in single precision only"}`. When the law holds one day, that test fails and asks you to
# remove it from the list.
#
# ## Exercises
#
# **1.** What share of its first state does a minimal GRU keep over 100 steps if the gate stays as
# it starts? And what share of its cell does an LSTM keep, with the default bias and with
# `forget_bias=4`?
#
# <details markdown>
# <summary>Solution</summary>

# %%
kept = {
    "minimal GRU": 1 - torch.tensor(-2.0).sigmoid(),
    "LSTM": torch.tensor(1.0).sigmoid(),
    "LSTM, gate open": torch.tensor(4.0).sigmoid(),
}
for name, share in kept.items():
    print(f"{name:16} {share:.2f} of it at a step, {share**100:.0e} after 100")
assert kept["LSTM"] < kept["minimal GRU"] < kept["LSTM, gate open"]
assert kept["minimal GRU"] ** 100 < 1e-5
assert kept["LSTM, gate open"] ** 100 > 0.1

# %% [markdown]
# Only the LSTM with the open gate starts with a state that reaches across the text. The minimal GRU
# does not: at first it keeps less than a hundred-thousandth, and has to learn to close its gate.
#
# </details>
#
# **2.** The decoder returns zeros instead of its new state. The loss does not change, because in
# training all steps are computed at once. Which law finds it?
#
# <details markdown>
# <summary>Solution</summary>


# %%
class ForgetfulDecoder(Decoder):
    def forward(self, inputs, memory, state=None):
        outputs, state = super().forward(inputs, memory, state)
        return outputs, torch.zeros_like(state)


class Forgetful(Mine):
    def __init__(self, spec, d_model: int = 64, **base: Unpack[sl.BaseOptions]):
        super().__init__(spec, d_model=d_model, **base)
        self.decoder = ForgetfulDecoder(d_model)


violated, message = violations(Forgetful, laws=[2, 5])
print(message.split("\n\n")[0])
assert "incremental decoding" in violated
assert "shapes" not in violated

# %% [markdown]
# Law 5: one step at a time has to give the same as all steps at once.
#
# </details>
#
# **3.** The forward layer of the encoder ignores its mask. Which law finds it? Which of the layer's
# states are wrong, and which are right?
#
# <details markdown>
# <summary>Solution</summary>


# %%
class Maskless(MinGRU):
    def forward(self, x, h, mask=None):
        return super().forward(x, h)


class Careless(Mine):
    def __init__(self, spec, d_model: int = 64, **base: Unpack[sl.BaseOptions]):
        super().__init__(spec, d_model=d_model, **base)
        self.encoder.forward_layer = Maskless(d_model)


violated, message = violations(Careless, laws=["padding"])
print(message.split("\n\n")[0])
assert violated == {"padding"}

# %% [markdown]
# Law 3: the output depends on the amount of padding. The layer reads from left to right, and the
# padding follows the text. So the states of the text are right; but the last state, from which the
# context vector is made, has also read the padding.
#
# </details>
#
# ## Next
#
# [Laws](../laws.md) lists all laws and their options, and
# [Extend](../extend.md) shows how to write a data source, a law, a callback and a picture.
