# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # LSTM and GRU, and how far they remember
#
# **Claim.** Gates give the state a path on which it is preserved almost unchanged, and its gradient
# with it. A plain recurrent network learns to remember over a few words. LSTM and GRU learn it over
# tens of words, and keep what they have learned over hundreds.
#
# This tutorial computes the gates by hand, compares the gradients of the three networks, and
# measures how far each one remembers. It takes one to two minutes on two cores and downloads
# nothing.

# %%
import logging
import warnings

import lightning as L
import torch
from matplotlib import pyplot as plt

import seqlearn as sl
from seqlearn.nn import GRULayer, LSTMLayer, RNNLayer, gru_step, lstm_step

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## The gates, step by step
#
# The LSTM (Hochreiter & Schmidhuber 1997) has a *cell* $c_t$ in addition to the hidden state $h_t$.
# Three gates, with values between 0 and 1, determine what is added to the cell, what is kept in it,
# and what is output:
#
# $$c_t = f_t \odot c_{t-1} + i_t \odot g_t \qquad h_t = o_t \odot \tanh(c_t)$$
#
# Where the forget gate $f_t$ is one and the input gate $i_t$ is zero, the cell does not change.

# %%
inputs = torch.randn(1, 5, 8)  # batch time width


def sums(layer, x, h):
    """What input and previous state add to all gates: W x + b, U h + b'."""
    w, u, b, b_state = layer.kernel.parameters()
    return x @ w.T + b, h @ u.T + b_state


lstm = LSTMLayer(8, 8)
hidden = cell = torch.zeros(1, 8)
for t in range(5):
    step = lstm_step(*sums(lstm, inputs[:, t], hidden), cell)
    hidden, cell = step.hidden, step.cell
    print(
        "forget gate",
        [round(value, 2) for value in step.forget[0, :6].tolist()],
    )

_, (last_hidden, last_cell) = lstm(inputs)
print("h equal to the layer:", torch.allclose(hidden, last_hidden, atol=1e-6))
print("c equal to the layer:", torch.allclose(cell, last_cell, atol=1e-6))
assert torch.allclose(hidden, last_hidden, atol=1e-6)
assert torch.allclose(cell, last_cell, atol=1e-6)

# %% [markdown]
# The GRU (Cho et al. 2014) has two gates and no cell. The update gate $z_t$ mixes the old state
# with a new candidate $n_t$, which depends on the old state through the reset gate:
#
# $$h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1}$$

# %%
gru = GRULayer(8, 8)
hidden = torch.zeros(1, 8)
for t in range(5):
    hidden = gru_step(*sums(gru, inputs[:, t], hidden), hidden).hidden

_, (last_hidden,) = gru(inputs)
print("h equal to the layer:", torch.allclose(hidden, last_hidden, atol=1e-6))
assert torch.allclose(hidden, last_hidden, atol=1e-6)

# %% [markdown]
# ## The gradient through time
#
# How much does the last state depend on an input a given number of steps before? We measure it in
# untrained layers, as in [the previous tutorial](recurrent.md), and in two more LSTMs, whose forget
# gate starts half open (bias 0) and nearly open (bias 3). The default of seqlearn is a bias of 1
# (Jozefowicz et al. 2015).

# %%
# | fig-alt: Size of the gradient by distance from the last state, on a logarithmic axis, for
# |   untrained layers: RNN, GRU, LSTM, and LSTMs with a forget bias of 0 and of 3.
# | fig-cap: Gradient by distance in untrained layers.
length, width = 100, 64
inputs = torch.randn(32, length, width, dtype=torch.float64, requires_grad=True)
direction = torch.randn(width, dtype=torch.float64)
kinds = {"rnn": RNNLayer, "gru": GRULayer, "lstm": LSTMLayer}
layers = {name: kind(width, width).double() for name, kind in kinds.items()}
for bias in (0, 3):
    layer = LSTMLayer(width, width).double()
    layers[f"lstm, forget bias {bias}"] = layer
    torch.nn.init.constant_(layer.kernel.bias_ih_l0[width : 2 * width], bias)

left = {}
figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
for name, layer in layers.items():
    _, (last, *_) = layer(inputs)
    (gradient,) = torch.autograd.grad((last @ direction).sum(), inputs)
    sizes = gradient.norm(dim=-1).mean(0).flip(0)  # the last input first
    left[name] = float(sizes[50] / sizes[0])
    print(f"{name:20} 10 steps back {sizes[10]:.0e}, 50 back {sizes[50]:.0e}")
    axes.plot(sizes, "--" if "bias" in name else "-", label=name)
axes.set(
    yscale="log",
    xlabel="distance from the last state (steps)",
    ylabel="size of the gradient",
)
_ = axes.legend()

assert max(left["rnn"], left["gru"], left["lstm, forget bias 0"]) < 1e-4
assert 1e-4 < left["lstm"] < 0.1 < left["lstm, forget bias 3"]

# %% [markdown]
# The gradient is preserved by an *open* gate, not by the architecture as such. With a half-open
# forget gate the LSTM loses the gradient as the plain network does. So does the GRU, whose update
# gate starts half open too. With a nearly open gate it is preserved. Training can open gates; the
# plain network has none.
#
# ## Recall at one distance
#
# A text says in which country somebody grew up; after `distance` filler words it asks which of ten
# languages they speak. We train a new model for each distance and architecture: 4 epochs with
# batches of 64 texts.

# %%
recipe = sl.Recipe(lr=3e-3, warmup_steps=20, schedule="cosine")
settings = {"d_model": 64, "dropout": 0.0, "recipe": recipe}


def trained(model, data, epochs=4):
    """Train a model for a few epochs."""
    trainer = L.Trainer(
        max_epochs=epochs,
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


def accuracy(model, distance):
    """The accuracy on test texts of this distance."""
    examples = sl.data.Recall(distance, held_out_examples=200).examples("test")
    texts, languages = zip(*examples, strict=True)
    predictions, _ = model.classify(texts)
    right = sum(a == b for a, b in zip(predictions, languages, strict=True))
    return right / len(texts)


def draw(curves, title):
    """Plot accuracy by distance, with the distances equally spaced."""
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for name, curve in curves.items():
        axes.plot(
            [str(distance) for distance in curve],
            list(curve.values()),
            "o-",
            label=name,
        )
    axes.axhline(0.1, color="0.6", linestyle="--", label="chance")
    axes.set(
        xlabel="distance (filler words)",
        ylabel="accuracy",
        ylim=(0, 1.05),
        title=title,
    )
    figure.legend(loc="outside right upper")


# %%
# | fig-alt: Accuracy by the number of filler words, for RNN, GRU and LSTM, each trained for one
# |   distance at a time, with the level of chance.
# | fig-cap: Accuracy by distance, one model for each distance.
architectures = {"RNN": sl.RNN, "GRU": sl.GRU, "LSTM": sl.LSTM}
curves = {}
for name, architecture in architectures.items():
    curves[name] = {}
    for distance in (5, 10, 20, 30):
        data = sl.data.Recall(
            distance, held_out_examples=200, batch_tokens=64 * (distance + 12)
        )
        model = trained(architecture(data.spec, **settings), data)
        curves[name][distance] = accuracy(model, distance)
    print(
        f"{name:5}",
        *(f"{d} words: {share:6.1%}  " for d, share in curves[name].items()),
    )
draw(curves, "trained for each distance")

reach = {
    name: max((d for d, share in curve.items() if share > 0.9), default=0)
    for name, curve in curves.items()
}
assert reach["RNN"] < reach["GRU"] <= reach["LSTM"]
assert reach["LSTM"] > 10
assert max(curves["RNN"][20], curves["GRU"][30]) < 0.5

# %% [markdown]
# They fail one after another: first the RNN, then the GRU, and last the LSTM, whose gradient
# reached furthest in the untrained network. But all of this happens within a few dozen words,
# while the textbook says that an LSTM remembers a hundred. Is the memory too short, or was the
# training too short to find out *what* to remember?
#
# ## Recall at several distances
#
# We train one model on texts of several distances: 0, 10, 20 and 30. What is learned from short
# distances may help with long ones. Then we test it at distances up to 1,000, which do not occur in
# training.


# %%
class Recalls(sl.data.SequenceDataModule):
    """`Recall` at several distances."""

    def __init__(self, distances, texts_each):
        super().__init__(
            sl.data.Text("word"), sl.data.Classes(), batch_tokens=2048
        )
        self.parts = [
            sl.data.Recall(d, train_examples=texts_each) for d in distances
        ]

    def examples(self, split):
        for part in self.parts:
            yield from part.examples(split)


def curve_of(model):
    """Accuracy by distance."""
    return {
        distance: accuracy(model, distance)
        for distance in (0, 1, 10, 30, 100, 300, 1000)
    }


data = Recalls((0, 10, 20, 30), texts_each=2_000)
models, curves = {}, {}
for name, architecture in architectures.items():
    models[name] = trained(architecture(data.spec, **settings), data)
    curves[name] = curve_of(models[name])
    print(
        f"{name:5}",
        *(f"{d} words: {share:6.1%}  " for d, share in curves[name].items()),
    )

assert min(curves[name][100] for name in ("GRU", "LSTM")) > 0.9
assert curves["RNN"][0] > 0.9
assert max(curves["RNN"][distance] for distance in (10, 30, 100)) < 0.4

# %% [markdown]
# GRU and LSTM now remember over many times the distances of the training, at least a hundred words.
# With more training they remember [a thousand](../results/recall.md). So the memory was not too
# short. What was missing was a gradient that reaches far enough to learn what to store.
#
# The RNN has learned the texts without filler words, and nothing else. Is its state unable to store
# a language? We train it once more, with distances that grow in small steps, and for twice as many
# epochs:

# %%
# | fig-alt: Accuracy by the number of filler words, from 0 to 1,000, for RNN, GRU and LSTM
# |   trained at several distances together, and for an RNN trained with distances that grow in
# |   small steps.
# | fig-cap: Accuracy by distance, one model for all distances.
data = Recalls((0, 1, 2, 3, 5, 8, 13, 21, 34), texts_each=1_000)
curves["RNN, small steps"] = curve_of(
    trained(sl.RNN(data.spec, **settings), data, epochs=8)
)
share = curves["RNN, small steps"]
print("RNN, small steps", *(f"{d} words: {share[d]:.1%}  " for d in share))
draw(curves, "trained at several distances")

assert min(share[distance] for distance in (1, 10)) > 0.5

# %% [markdown]
# Now it is far above chance at distances at which it had learned nothing; how far depends on the
# seed. So "an RNN forgets after a few words" is not quite accurate. An RNN *can* store what it has
# read. It cannot learn to store it over a distance at which the gradient has vanished.
# Hence the title of Bengio et al. (1994): long-term dependencies are difficult to *learn*.
#
# ## The gradient after training
#
# The same measurement as above, now in the three trained models and for their prediction: how much
# does it depend on each word of a text? 50 filler words separate the country and the question. Each
# curve is relative to its last word.

# %%
# | fig-alt: Size of the gradient, relative to the last word, by the number of words before it, on
# |   a logarithmic axis, for RNN, GRU and LSTM. A line marks the country, 53 words before the last
# |   one.
# | fig-cap: Gradient of the trained models by distance.
examples = list(sl.data.Recall(50).examples("test"))[:64]
ids = torch.tensor(
    models["LSTM"].spec.source.encode([text for text, _ in examples])
)
real = torch.ones_like(ids, dtype=torch.bool)
# Words before the last one
place = ids.shape[1] - 1 - torch.arange(ids.shape[1])

relative = {}
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
for name, model in models.items():
    embedded = model.source_embedding(ids).detach().requires_grad_()
    logits = model.head(model.encoder(embedded, real).pooled)
    best = logits.log_softmax(-1).amax(-1)
    (gradient,) = torch.autograd.grad(best.sum(), embedded)
    sizes = gradient.norm(dim=-1).mean(0)
    relative[name] = (sizes / sizes[-1]).flip(0)  # by words before the last
    axes.plot(place, sizes / sizes[-1], label=name)
axes.axvline(53, color="0.6", linestyle=":", label="the country")
axes.set(
    yscale="log",
    xlabel="words before the last one",
    ylabel="size of the gradient, relative",
)
axes.invert_xaxis()
_ = axes.legend()

for name in ("GRU", "LSTM"):
    country, fillers = relative[name][53], relative[name][5:53]
    assert country > 0.1 * fillers.mean()
    assert relative[name][54:].mean() < 0.5 * country
assert relative["RNN"][53] < 1e-3
assert relative["RNN"][53] < 2 * relative["RNN"][50:53].max()  # no peak

# %% [markdown]
# The curve of the RNN is still a straight line without a peak at the country. Those of GRU and LSTM
# are level over all filler words, back to the country, and fall before it: what precedes the
# country does not matter.
#
# And the gates? We compute the forget and input gates of the LSTM at every step, averaged over
# texts and cells.

# %%
# | fig-alt: Means of the forget gate and of the input gate at each word of a text: four filler
# |   words, "I grew up in COUNTRY", and seven filler words.
# | fig-cap: Forget gate and input gate of the trained LSTM, word by word.
lstm = models["LSTM"].encoder.layers[0]
with torch.no_grad():
    x = models["LSTM"].source_embedding(ids) * models["LSTM"].d_model ** 0.5
    hidden, _ = lstm(x)
    # h at t - 1
    before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], 1)
    step = lstm_step(*sums(lstm, x, before), torch.zeros_like(hidden))
forget_gate, input_gate = step.forget.mean((0, 2)), step.input.mean((0, 2))

words = [*["filler"] * 4, "I", "grew", "up", "in", "COUNTRY", *["filler"] * 7]
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
axes.plot(forget_gate[: len(words)], "o-", label="forget gate")
axes.plot(input_gate[: len(words)], "o-", label="input gate")
axes.set_xticks(range(len(words)), words, rotation=60, ha="right")
axes.set(ylabel="mean of the gate", ylim=(0, 1))
_ = axes.legend()
open_cells = (step.forget[:, 9:59] > 0.95).float().mean()
filler = forget_gate[9:59].mean()
print(
    f"forget gate over the filler words: mean {filler:.2f}; "
    f"above 0.95: {open_cells:.0%}"
)
assert input_gate[: len(words)].argmax() == words.index("COUNTRY")
assert forget_gate[5:8].max() < min(forget_gate[:4].min(), filler)
assert 0 < open_cells < 0.9

# %% [markdown]
# At "grew up in" the model lowers the forget gate, which clears the cells. At the country it opens
# the input gate widest, and afterwards it raises the forget gate again. None of this was specified.
# The forget gate does not open fully: only some cells are preserved almost unchanged. "A gate that
# stays open for hundreds of steps" is simpler than what this model does, which also feeds its state
# back into its gates at each step.
#
# The viewer shows the same for one text: three steps of the chain, whose gates determine for each
# word what is kept, what is added and what is output. Press play, or step with the arrow keys.

# %%
text, _ = next(iter(sl.data.Recall(10).examples("test")))
with sl.record(models["LSTM"]) as recording:
    models["LSTM"].classify([text])
recording.view(opens="lstm_chain", title="An LSTM reads a text")

# %% [markdown]
# One cell from inside: the cell state runs straight through, multiplied by the forget gate and
# added to. Below it, cell state and gates of all words.

# %%
recording.view(opens="gates", title="Cell state and gates of an LSTM")

# %% [markdown]
# ## Limitations
#
# Two limitations remain. The steps are still sequential, and slower, because an LSTM has four times
# as many weights. And everything that was read has to fit into one state of fixed size. Here that
# was one fact. What if it is a whole sentence?
#
# ## Exercises
#
# **1.** How many parameters do an RNN, a GRU and an LSTM layer of the same width have, relative to
# each other, and why?
#
# <details markdown>
# <summary>Solution</summary>

# %%
counts = {
    name: sum(p.numel() for p in kind(8, 8).parameters())
    for name, kind in kinds.items()
}
print(counts)
assert counts["gru"] == 3 * counts["rnn"]
assert counts["lstm"] == 4 * counts["rnn"]

# %% [markdown]
# One, three and four times as many: each gate has its own $W$, $U$ and $b$, and so has the
# candidate.
#
# </details>
#
# **2.** The weights of a forget gate are zero. Which bias makes it keep half of the cell over 100
# steps? Check it with `lstm_step`.
#
# <details markdown>
# <summary>Solution</summary>

# %%
gate = 0.5 ** (1 / 100)
bias = torch.tensor(gate / (1 - gate)).log()
zeros = torch.zeros(1, 4)  # the sums of input, forget, candidate and output
cell = torch.ones(1, 1)
for _ in range(100):
    cell = lstm_step(torch.tensor([[-50.0, bias, 0, 0]]), zeros, cell).cell
print(
    f"bias {bias:.2f}, gate {gate:.3f}: {cell.item():.2f} of the cell is left"
)
assert abs(cell.item() - 0.5) < 0.01

# %% [markdown]
# The gate has to be $0.5^{1/100} = 0.993$, and the inverse of the sigmoid of that is 4.97. The
# input gate is closed (-50), so nothing is added.
#
# </details>
#
# **3.** The GRU could not be trained at a distance of 30. Which one of its arguments changes that,
# without more training and without shorter texts? Find it in the
# [reference](../reference/models.md).
#
# <details markdown>
# <summary>Solution</summary>

# %%
data = sl.data.Recall(30, held_out_examples=200, batch_tokens=64 * 42)
opened = trained(sl.GRU(data.spec, update_bias=3.0, **settings), data)
print(f"update_bias=3: {accuracy(opened, 30):.1%}")
assert accuracy(opened, 30) > 0.9

# %% [markdown]
# `update_bias`: with 3, the update gate starts at $\sigma(3) = 0.95$ and keeps the state, and the
# gradient reaches the country from the first step of training on. `forget_bias=3` does the same
# for the LSTM.
#
# </details>
#
# ## Next
#
# [One context vector](context_vector.md): translation with two LSTMs, and its bottleneck.
