# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Several processes and interrupted runs
#
# **Claim.** Two processes compute the gradient that one computes, and a run that is stopped in the
# middle of an epoch and continued ends with the same weights, to the bit. So a long run can be
# preempted and continued without a change of its result, and moved to several processes without a
# change of what a step computes. (Which examples share a step does change.)
#
# The tutorial starts real processes on the CPU, where everyone can repeat it; on GPUs two options
# of the Trainer differ. It was not run on GPUs; there, the same numbers may not be equal to the
# bit. It takes about a minute and a half on two cores and downloads nothing.

# %%
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from matplotlib import pyplot as plt

import seqlearn as sl

folder = tempfile.TemporaryDirectory()
place = Path(folder.name)

# %% [markdown]
# ## A script
#
# Several processes need a script: Lightning starts it once more for each further process, and each
# of them runs it from the beginning. This one trains a small model with attention to translate
# sentences of a grammar. Three parts of it are for long runs:
#
# - `Interrupt` stops the run with a checkpoint when SIGTERM or SIGUSR1 comes. These are the signals
#   that a cluster sends before it takes a machine away.
# - `AtomicCheckpointIO` writes a checkpoint beside its place and then renames it, so that a file is
#   complete or absent, also if the process is killed while it writes.
# - `ckpt_path="last"` continues from the newest checkpoint with that name, which `Interrupt` and
#   `ModelCheckpoint` give to theirs.
#
# The command `seqlearn fit` uses the first two by default, and has `--ckpt_path auto` for the
# third. What `trouble` does is for this tutorial only: in step 8, the script sends SIGTERM to
# itself, or makes the loss of the second process NaN. (Steps are counted from 0, so step 8 is the
# ninth. The last line of a run gives the number of completed steps.)

# %%
SCRIPT = """
import json
import os
import signal
import sys

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

import seqlearn as sl

options = json.loads(sys.argv[1])
name, processes = options["name"], options["processes"]


class Model(sl.AttentionSeq2Seq):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        trouble = options["trouble"] if self.global_step == 8 else ""
        if trouble == "SIGTERM" and self.global_rank == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        if trouble == "NaN" and self.global_rank == 1:
            loss = loss * float("nan")
        return loss


L.seed_everything(0, verbose=False)
torch.set_num_threads(1)
data = sl.data.Sentences(1_000, 100, batch_tokens=512)
model = Model(
    data.spec,
    d_model=24,
    dropout=options["dropout"],
    recipe=sl.Recipe(lr=1e-2),
)
trainer = L.Trainer(
    accelerator="cpu",  # or "gpu"
    devices=processes,
    strategy="ddp" if processes > 1 else "auto",
    accumulate_grad_batches=options["accumulate"],
    precision="64-true",  # on a GPU: "bf16-mixed"
    max_epochs=options["epochs"],
    gradient_clip_val=1.0,
    plugins=[sl.AtomicCheckpointIO()],
    callbacks=[
        sl.callbacks.Interrupt(filename="last"),
        ModelCheckpoint(dirpath=name, save_last=True),
    ],
    logger=CSVLogger("logs", name),
    log_every_n_steps=1,
    enable_progress_bar=False,
    enable_model_summary=False,
)
last = "last" if os.path.exists(name) else None
try:
    trainer.fit(model, data, ckpt_path=last)
finally:
    if trainer.is_global_zero:
        print(f"{trainer.global_step} steps completed")
        torch.save(model.state_dict(), f"{name}.pt")
"""
_ = (place / "train.py").write_text(SCRIPT, encoding="utf-8")


def run(name, processes=2, accumulate=2, epochs=4, dropout=0.1, trouble=""):
    """Run the script; print its status, and return all that it has written."""
    options = {
        "name": name,
        "processes": processes,
        "accumulate": accumulate,
        "epochs": epochs,
        "dropout": dropout,
        "trouble": trouble,
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "train.py", json.dumps(options)],
        cwd=place,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    print(f"{name}: {done.stdout.strip()}, exit status {done.returncode}")
    return done.returncode, done.stdout + done.stderr


def difference(one, other):
    """The largest difference between the weights of two runs."""
    one, other = (torch.load(place / f"{name}.pt") for name in (one, other))
    return max(float((one[key] - other[key]).abs().max()) for key in one)


# %% [markdown]
# Double precision makes rounding visible: numbers that are equal in theory differ by 1e-16 or so,
# and anything larger is an error.
#
# ## Two processes
#
# With the strategy `ddp`, each process has a copy of the model and gets other batches. During the
# backward pass, DDP averages the gradients over the processes, so all copies make the same step.
#
# In seqlearn the result is the mean over all target tokens of the step, however they are divided
# among processes and accumulated batches. The mean of the means of batches would be another number
# as soon as batches have unequal numbers of tokens, as here.
#
# To test it, each step takes *all* sentences: 100 batches are accumulated, more than there are, so
# a step comes at the end of each epoch. (With smaller steps, which sentences share a step depends
# on the number of processes, and so do the weights, as with another order of the data.) Dropout is
# off, since each process draws other numbers.

# %%
everything = {"accumulate": 100, "epochs": 12, "dropout": 0.0}
status_one, _ = run("one process", processes=1, **everything)
status_two, _ = run("two processes", processes=2, **everything)
apart = difference("one process", "two processes")
print(f"largest difference of the weights: {apart:.0e}")
assert status_one == status_two == 0
assert apart < 1e-9

# %% [markdown]
# After twelve steps the weights are equal up to rounding. The difference is not zero because the
# sums have another order. The validation loss after each step, from the logs of both runs:


# %%
def losses(name, metric="train/loss", version=0):
    """The logged losses of a run by step."""
    path = place / "logs" / name / f"version_{version}" / "metrics.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row[metric]]
    return {int(row["step"]): float(row[metric]) for row in rows}


pair = [losses(name, "val/loss") for name in ("one process", "two processes")]
for step in (0, 5, 11):
    print(f"step {step:2}", *(f"{each[step]:.10f}" for each in pair))
assert all(abs(pair[0][step] - pair[1][step]) < 1e-6 for step in range(12))
assert pair[0][11] < pair[0][0] - 0.1

# %% [markdown]
# ## A run that is stopped
#
# From here on the runs are ordinary ones: two processes, two accumulated batches for each step,
# dropout, four epochs. First a run that nothing interrupts.

# %%
status, _ = run("uninterrupted")
assert status == 0

# %% [markdown]
# Now the same run, to whose first process SIGTERM is sent while it computes the first of the two
# batches of step 8, in the middle of the second epoch.

# %%
status, output = run("stopped", trouble="SIGTERM")
print(*(line for line in output.splitlines() if "SIGTERM" in line), sep="\n")
print(*sorted(path.name for path in (place / "stopped").iterdir()), sep="\n")
assert status == 143
assert max(losses("stopped")) <= 8

# %% [markdown]
# Both processes have completed the step, the first one has written a checkpoint, and the exit
# status is 143 (128 + 15, the number of SIGTERM), by which a cluster knows that the run did not end
# by itself. The same command continues it:

# %%
status, _ = run("stopped")
apart = difference("uninterrupted", "stopped")
print(f"largest difference of the weights: {apart}")
assert status == 0
assert apart == 0

# %% [markdown]
# Zero: the weights are equal to the bit. For that the checkpoint holds more than weights.

# %%
# | fig-alt: Training loss by step of the uninterrupted run, and of the two parts of the stopped
# |   run, which lie on it.
# | fig-cap: Loss of the run with an interruption, and of the run without.
whole, first = losses("uninterrupted"), losses("stopped")
second = losses("stopped", version=1)
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
axes.plot(whole.keys(), whole.values(), linewidth=6, color="0.8")
axes.plot(first.keys(), first.values(), "o-", markersize=4)
axes.plot(second.keys(), second.values(), "o-", markersize=4)
axes.legend(["uninterrupted", "until SIGTERM", "continued"])
_ = axes.set(xlabel="step", ylabel="training loss")

# %% [markdown]
# Gray is the uninterrupted run; the two parts lie on it. The point of step 8 is missing: the
# process ended before that line of the log was written. The step itself was made, before the
# checkpoint, and it was not made twice.

# %%
assert max(first) < min(second)
assert {8, *first, *second} == {*whole}
assert all(whole[step] == loss for step, loss in (first | second).items())
checkpoint = torch.load(place / "stopped" / "last.ckpt")
print(*sorted(checkpoint), sep="\n")
assert {"loops", "optimizer_states", "lr_schedulers"} <= checkpoint.keys()

# %% [markdown]
# - `state_dict`, `optimizer_states` and `lr_schedulers` are what everyone expects: the weights, the
#   moments of Adam, the place in the schedule.
# - `loops` counts epochs and batches, so the run continues with the next batch. The order of the
#   batches is computed from the seed and the epoch, and need not be stored.
# - Dropout draws its random numbers from the seed, the process and the number of the batch
#   (`Recipe.seed`), so they do not depend on what was drawn before.
#
# The number of processes must be the same where a run is continued in the middle of an epoch, since
# the batches of the epoch were divided among them. At the end of an epoch it may change.
#
# ## NaN
#
# A loss that is not a number makes every weight NaN in one step, and every later checkpoint
# useless. With several processes it is enough if one of them has such a batch, because gradients
# are averaged. Here it happens to the second process in step 8.

# %%
status, output = run("ill", trouble="NaN")
message = [line for line in output.splitlines() if "FloatingPointError" in line]
print(message[-1])
weights = torch.load(place / "ill.pt")
print("all weights finite:", all(w.isfinite().all() for w in weights.values()))
assert status != 0
assert all(w.isfinite().all() for w in weights.values())
assert max(losses("ill")) == 7

# %% [markdown]
# Both processes stopped *before* the step, and the weights are those of the step before. The
# message names the step and the batch. After such an error look at that batch first. If it is
# sound, lower the learning rate or lengthen the warm-up, and continue from the last checkpoint.
#
# ## What to set on real GPUs
#
# | situation | options of the Trainer |
# |---|---|
# | one GPU | `accelerator="gpu", precision="bf16-mixed"`; raise `batch_tokens` until it is busy |
# | the batch does not fit | `accumulate_grad_batches=4`, and a fourth of `batch_tokens` |
# | four GPUs of one machine | `devices=4, strategy="ddp"` |
# | two machines | also `num_nodes=2`, and start the script by `torchrun` or `srun` |
# | the model does not fit | `ModelParallelStrategy`, see [Strategies](../strategies.md) |
# | more than some minutes | `Interrupt()`, `AtomicCheckpointIO()`, `ckpt_path="last"` |
#
# With $n$ processes, $k$ accumulated batches and `batch_tokens` of $B$, a step sees about $nkB$
# tokens. To repeat a run of one GPU on four, divide $B$ or $k$ by four; then the learning rate may
# stay. [Many GPUs](../many_gpus.md) has larger steps, the cost of communication, and what each
# failure looks like.
#
# ## Exercises
#
# **1.** How many steps does an epoch have with two processes and two accumulated batches? Compute
# it from the number of batches, and compare with the log.
#
# <details markdown>
# <summary>Solution</summary>

# %%
data = sl.data.Sentences(1_000, 100, batch_tokens=512)
batches = len(data.train_dataloader())
per_process = -(-batches // 2)  # rounded up
steps = -(-per_process // 2)
print(f"{batches} batches, {steps} steps in an epoch, {4 * steps} in four")
assert max(whole) + 1 == 4 * steps

# %% [markdown]
# The last step of an epoch may accumulate fewer batches than the others. Its gradient is still the
# mean over its own tokens.
#
# </details>
#
# **2.** DDP sends $2\frac{n-1}{n}Pb$ bytes through each link for a step, for $P$ parameters of $b$
# bytes. How long does that take for 60 million parameters in single precision on four GPUs, with 10
# GB/s?
#
# <details markdown>
# <summary>Solution</summary>

# %%
sent = 2 * 3 / 4 * 60e6 * 4
print(f"{sent / 1e6:.0f} MB, {1000 * sent / 10e9:.0f} ms")
assert round(1000 * sent / 10e9) == 36

# %% [markdown]
# Most of it overlaps with the backward pass. If a step computes for less than that, larger batches
# or accumulation help, because they do not change what is sent.
#
# </details>
#
# ## Next
#
# [Many GPUs](../many_gpus.md), [Interruption](../interruption.md) (signals, torchrun and Slurm in
# detail), and [Strategies](../strategies.md) for models that do not fit on one GPU.
