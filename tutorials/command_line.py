# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # The command line
#
# **Claim.** A configuration file and a few commands take you from a file of data to a trained,
# tested and exported model, without any code. The file holds every setting of the run. And a run
# that is interrupted and continued with the same command ends with the same weights as one that was
# not interrupted, to the bit.
#
# The model of this tutorial writes number words as digits. Each command is run as a terminal runs
# it. The export needs the extra `export` ([installation](../get-started.md#installation)). It takes
# about two minutes on two cores and downloads nothing.

# %%
import math
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import yaml

import seqlearn as sl

# %% [markdown]
# A notebook is not a terminal, so we need one helper. It runs a command in the folder of the
# experiment and shows what it writes to standard output. In a terminal, type what follows the
# `$`. (Progress and log lines go to standard error, which we show only when a command fails.)

# %%
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
environment = {**os.environ, "COLUMNS": "72", "OMP_NUM_THREADS": "1"}
environment.pop("FORCE_COLOR", None)  # which a notebook sets


def words_of(command):
    """The words of a command, with the seqlearn of this Python."""
    _, *words = shlex.split(command)
    return [sys.executable, "-m", "seqlearn", *words]


def terminal(command, status=0, lines=30):
    """Run a command, show the first lines of its output, and return it."""
    print(f"$ {command}")
    done = subprocess.run(
        words_of(command),
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == status, done.stderr
    written = done.stderr if status else done.stdout
    shown = written.replace(f"{folder}/", "").strip().splitlines()
    print(*shown[:lines], *["…"] * (len(shown) > lines), sep="\n")
    return done.stdout


# %% [markdown]
# ## Data
#
# Three files of two columns, separated by a tab: number words and digits. You would have such
# files of your own; [Your own data](own_data.md) shows what is checked when they are read.

# %%
small = (
    "one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen"
)
large = "twenty thirty forty fifty sixty seventy eighty ninety"
ONES, TENS = small.split(), large.split()


def in_words(n):
    """The number words of n, below 10,000."""
    if n >= 1000:
        return f"{in_words(n // 1000)} thousand {in_words(n % 1000)}".strip()
    if n >= 100:
        return f"{ONES[n // 100 - 1]} hundred {in_words(n % 100)}".strip()
    if n >= 20:
        return f"{TENS[n // 10 - 2]} {in_words(n % 10)}".strip()
    return ONES[n - 1] if n else ""


numbers = random.Random(0).sample(range(1, 10000), 6000)
splits = {
    "train": numbers[:5000],
    "val": numbers[5000:5500],
    "test": numbers[5500:],
}
for split, part in splits.items():
    rows = [f"{in_words(n)}\t{n}\n" for n in part]
    (folder / f"{split}.tsv").write_text("".join(rows), encoding="utf-8")
print(*rows[:4], sep="")

# %% [markdown]
# ## A configuration file
#
# Besides the seed, the file has three parts. They are the three objects of a run in Python: the
# model, the data and the Trainer. The keys are the arguments of their constructors. What is not
# written has its default. Paths are relative to the folder in which the command is run.

# %%
settings = """\
seed_everything: 0
model:
  class_path: AttentionSeq2Seq
  init_args:
    d_model: 64
    dropout: 0.0
    recipe: {lr: 5.0e-3, warmup_steps: 50, schedule: cosine}
data:
  class_path: TextPairs
  init_args:
    train: train.tsv
    val: val.tsv
    test: test.tsv
    source: {tokenizer: word}
    target: {tokenizer: char}
    batch_tokens: 512
trainer:
  max_epochs: 6
  accelerator: cpu
  gradient_clip_val: 1.0
  enable_progress_bar: false
  enable_model_summary: false
"""
_ = (folder / "run.yaml").write_text(settings, encoding="utf-8")

# %% [markdown]
# `--print_config` prints all settings, the defaults included, and trains nothing. An option after
# `--config` overrides the file. Its name is the path of the key:

# %%
printed = terminal(
    "seqlearn fit --config run.yaml --model.recipe.lr 2e-3 --print_config",
    lines=8,
)
recipe = yaml.safe_load(printed)["model"]["init_args"]["recipe"]
print(recipe)
assert recipe["lr"] == 2e-3  # overridden
assert recipe["warmup_steps"] == 50  # from the file
assert recipe["beta2"] == 0.98  # a default

# %% [markdown]
# A name that does not exist is an error before anything is trained, on one line:

# %%
_ = terminal("seqlearn fit --config run.yaml --model.width 128", status=2)

# %% [markdown]
# ## Training
#
# Each experiment gets its folder, `--trainer.default_root_dir`. At the end the command prints the
# checkpoint, and what to do with it.

# %%
fit = "seqlearn fit --config run.yaml --ckpt_path auto"
_ = terminal(f"{fit} --trainer.default_root_dir whole")
for name in ("*.yaml", "*.ckpt"):
    for path in (folder / "whole").rglob(name):
        print(path.relative_to(folder))
(checkpoint,) = (folder / "whole").rglob("*.ckpt")

# %% [markdown]
# `config.yaml` in the folder of the run has all its settings: those of the file, those of the
# command and the defaults. Anyone who has it, the data and the same versions can repeat the run. It
# is a configuration like ours, and the other commands take it.
#
# ## An interruption
#
# Now the same command again, in another folder. We send the process a SIGTERM when it has
# finished the first epoch, as a cluster does before it takes a machine away. It completes its
# step, saves, and ends with status 143.

# %%
command = f"{fit} --trainer.default_root_dir parts"
process = subprocess.Popen(
    words_of(command),
    cwd=folder,
    env=environment,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
while process.poll() is None and not list((folder / "parts").rglob("*.ckpt")):
    time.sleep(0.02)
process.send_signal(signal.SIGTERM)
print("exit status", process.wait())
saved = sorted(path.name for path in (folder / "parts").rglob("*.ckpt"))
print(saved)
assert process.returncode == 143
assert "interrupt.ckpt" in saved

# %% [markdown]
# `--ckpt_path auto` makes the command serve both: it starts anew if the folder has no checkpoint,
# and otherwise continues from the newest one. So we run it again, unchanged:

# %%
_ = terminal(command)
interrupted = torch.load(
    next((folder / "parts").rglob("interrupt.ckpt")), weights_only=True
)
continued = torch.load(
    max((folder / "parts").rglob(checkpoint.name)), weights_only=True
)
whole = torch.load(checkpoint, weights_only=True)
print("steps:", interrupted["global_step"], "then", continued["global_step"])
same = [
    torch.equal(weights, continued["state_dict"][name])
    for name, weights in whole["state_dict"].items()
]
print(f"{sum(same)} of {len(same)} tensors have the same bits")
assert 0 < interrupted["global_step"] < whole["global_step"]
assert continued["global_step"] == whole["global_step"]
assert all(same)

# %% [markdown]
# The continued run has a folder of its own, `version_1`. Not only the weights continue: the state
# of the optimizer, the learning rate, the random numbers and the position within the epoch are in
# the checkpoint. [Interruption](../interruption.md) has the other cases, Slurm among them.
#
# ## A test
#
# `last` is the newest checkpoint of the newest run in `trainer.default_root_dir`, which
# `config.yaml` contains (here `whole`).

# %%
output = terminal(
    "seqlearn test --config whole/lightning_logs/version_0/config.yaml "
    "--ckpt_path last"
)


def exact_match_of(output):
    """The exact match in the table of `test`."""
    return float(re.search(r"exact_match\W+([\d.]+)", output)[1])


exact_match = exact_match_of(output)
print(f"{exact_match:.1%} of the test numbers are right")
assert exact_match > 0.9

# %% [markdown]
# These numbers do not occur in training. (BLEU compares sequences of four words; a number is one,
# so it says nothing here.)
#
# ## Using it
#
# `translate` reads lines and writes lines, in order, from a file or from standard input. It needs
# only the checkpoint: model, tokenizers and decoding options are in it.

# %%
lines = ["seven thousand three hundred forty two", "twelve", "two zillion"]
(folder / "in.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
model_file = checkpoint.relative_to(folder).as_posix()
output = terminal(f"seqlearn translate {shlex.quote(model_file)} in.txt")
assert output.splitlines()[:2] == ["7342", "12"]

# %% [markdown]
# *zillion* is not in the vocabulary. The command says so on standard error, with the line, and
# translates all the same. `--unknown error` makes it stop.
#
# Options of decoding follow in the same way (`--decoding beam --beam-size 8 --scores`), and
# `classify`, `generate` and `predict` do the same for the other tasks.
#
# ## Looking into it
#
# `view` writes a page that replays how the model processes one text. It needs no network. In
# Python it is a recording. `recording.attention` has what was recorded by name; this model has one
# mechanism of attention, which we draw:

# %%
_ = terminal(
    f"seqlearn view {shlex.quote(model_file)} '{lines[0]}' --out view.html"
)
assert "<html" in (folder / "view.html").read_text(encoding="utf-8")

# %%
# | fig-alt: Attention weights of the model: one row for each digit, one column for each number
# |   word. Each digit attends to its number word or to the word next to it.
# | fig-cap: Attention of the trained model, drawn from its checkpoint.
model = sl.AttentionSeq2Seq.load_from_checkpoint(checkpoint)
with sl.record(model) as recording:
    model.generate(lines[:1])
recording.plot("decoder.attentional_hidden.attention")

# %% [markdown]
# Each digit attends to its number word, *seven* for the first and *three* for the second, or to
# the word next to it: the encoder reads in both directions, so the state at a word also contains
# its neighbors.

# %%
weights = recording.attention["decoder.attentional_hidden.attention"]
attended = weights[0, 0, :4].argmax(-1).tolist()
print([lines[0].split()[place] for place in attended])
assert all(
    abs(place - expected) <= 1
    for place, expected in zip(attended, (0, 2, 4, 5), strict=True)
)

# %% [markdown]
# ## Export
#
# `export` writes a folder that runs without PyTorch: graphs in ONNX, and the tokenizers.
# [Deployment](../deployment.md) shows how to load it, and the other formats.

# %%
_ = terminal(f"seqlearn export {shlex.quote(model_file)} --out exported")
print(sorted(path.name for path in (folder / "exported").iterdir()))
exported = sl.export.load_exported(folder / "exported")
print(exported.generate(lines[:2]))
assert exported.generate(lines[:2]) == ["7342", "12"]

# %% [markdown]
# A last command trains other architectures on the same data, with as many parameters, and writes
# a report. It takes minutes, so it is not run here:
#
# ```console
# $ seqlearn compare --config run.yaml --models GRU Transformer --directory comparison
# ```
#
# [Comparing architectures](../compare.md) explains its options and its report.
#
# ## Exercises
#
# **1.** Which translations of *seven thousand three hundred forty two* does the model find next
# best, and how much less probable are they? Use `--decoding beam`, `--num-return-sequences` and
# `--scores`.
#
# <details markdown>
# <summary>Solution</summary>

# %%
(folder / "one.txt").write_text(lines[0] + "\n", encoding="utf-8")
output = terminal(
    f"seqlearn translate {shlex.quote(model_file)} one.txt "
    "--decoding beam --num-return-sequences 3 --scores"
)
cells = output.strip().split("\t")
best, second = (float(cell) for cell in (cells[0], cells[2]))
print(f"the second is {math.exp(best - second):,.0f} times less probable")
assert cells[1] == "7342"
assert best > second + 1

# %% [markdown]
# Each translation stands after its score. A score is a log-probability, so the difference of two
# is the logarithm of a ratio.
#
# </details>
#
# **2.** Many write *forty-two* with a hyphen. Write such a test file, and test the model on it by
# overriding one option. Which numbers are wrong?
#
# <details markdown>
# <summary>Solution</summary>

# %%
hyphens = []
for n in splits["test"]:
    text = in_words(n)
    if n % 100 > 20 and n % 10:  # the last two words are tens and ones
        text = "-".join(text.rsplit(" ", 1))
    hyphens.append(f"{text}\t{n}\n")
(folder / "hyphens.tsv").write_text("".join(hyphens), encoding="utf-8")
output = terminal(
    "seqlearn test --config whole/lightning_logs/version_0/config.yaml "
    "--ckpt_path last --data.test hyphens.tsv"
)
without = sum("-" not in line for line in hyphens) / len(hyphens)
print(f"{exact_match_of(output):.1%} right; {without:.1%} have no hyphen")
assert abs(exact_match_of(output) - without) < 0.1

# %% [markdown]
# Those with a hyphen: *forty-two* is one word for the tokenizer, an unknown one, so the model
# cannot know which number it was. The remedy is not another option but other data, or a tokenizer
# that knows smaller parts ([Your own data](own_data.md)).
#
# </details>
#
# ## Next
#
# [Get started](../get-started.md#command-line) lists all commands. The folder `configs/` of the
# repository has a configuration file for each architecture.
