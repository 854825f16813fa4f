# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # Your own data and tokenizers
#
# **Claim.** The tokenizer decides which texts a model can read and write at all. One model is
# trained three times on the same sentences: with words, with byte pairs and with characters as
# tokens. On words that occur in training, all three translate well. On words that do not, the
# word-level model gets no sentence right, however long it is trained, and this can be computed
# before training. The other two spell such words, and pay with longer sequences.
#
# This tutorial starts where your own work starts: with a file. It reads and checks the file,
# splits it, compares the tokenizers, and ends with a saved model that needs neither the file nor
# the tokenizer. It takes one to two minutes on two cores and downloads nothing.

# %%
import json
import logging
import random
import tempfile
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import torch
from matplotlib import pyplot as plt
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import seqlearn as sl

warnings.filterwarnings("ignore", module="lightning")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
torch.set_num_threads(1)  # networks as small as these gain nothing from more
_ = L.seed_everything(0, verbose=False)

# %% [markdown]
# ## A file
#
# You would have a file of your own. Here a small grammar writes one: English sentences and their
# German translations, in two columns that are separated by a tab. The translation is not word by
# word: the day comes first in German, and the endings of article and adjective depend on the
# gender of the noun. Each sentence is about a person, and there are many persons. That is the
# usual case: names, places and numbers are open classes, of which no training set has all.

# %%
VERBS = {"buys": "kauft", "sees": "sieht", "paints": "malt", "wants": "will"}
NOUNS = {
    "apple": "einen {}en Apfel",
    "chair": "einen {}en Stuhl",
    "coat": "einen {}en Mantel",
    "lamp": "eine {}e Lampe",
    "clock": "eine {}e Uhr",
    "bag": "eine {}e Tasche",
    "book": "ein {}es Buch",
    "bike": "ein {}es Rad",
    "picture": "ein {}es Bild",
}
ADJECTIVES = {"red": "rot", "new": "neu", "big": "groß", "small": "klein"}
DAYS = {
    "today": "Heute",
    "tomorrow": "Morgen",
    "on Monday": "Am Montag",
    "on Friday": "Am Freitag",
}
rng = random.Random(0)


def person():
    """A name of two or three syllables, such as Lufora."""
    syllables = [
        rng.choice("bdfgklmnprstvz") + rng.choice("aeiou")
        for _ in range(rng.choice((2, 3)))
    ]
    return "".join(syllables).capitalize()


def pair(name):
    """An English sentence about a person, and its German translation."""
    verb, noun, adjective, day = (
        rng.choice(list(words)) for words in (VERBS, NOUNS, ADJECTIVES, DAYS)
    )
    thing = NOUNS[noun].format(ADJECTIVES[adjective])
    return (
        f"{name} {verb} a {adjective} {noun} {day}",
        f"{DAYS[day]} {VERBS[verb]} {name} {thing}",
    )


temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
people = sorted({person() for _ in range(700)})
pairs = sorted({pair(rng.choice(people)) for _ in range(6500)})
rng.shuffle(pairs)
lines = [f"{english}\t{german}\n" for english, german in pairs]
(folder / "pairs.tsv").write_text("".join(lines), encoding="utf-8")
print(*lines[:5], sep="")

# %% [markdown]
# ## Reading it
#
# `TextPairs` reads such a file. So does `LabelledText` for texts with a label, which [the
# exercises](#exercises) use. The first argument is the training split; `val=0.05` draws one
# sentence in 20 at random for validation. The tokenizer of each side is a field, `Text`.

# %%
word = sl.data.Text("word")
data = sl.data.TextPairs(
    folder / "pairs.tsv", val=0.05, source=word, target=sl.data.Text("word")
)
print(data.spec.source.vocab_size, "ids for English words")
print(data)
assert len(data.dataset("train")) + len(data.dataset("val")) == len(pairs)

# %% [markdown]
# `print(data)` says what was read: the examples of each split, and the spec of both sides. The
# *spec* is what a model is built from: here two vocabularies and the greatest lengths.
#
# The format follows from the suffix. These four data modules have the same examples: a CSV file
# with a header, a JSON Lines file, two parallel files, and a list in memory. A pandas `DataFrame`
# or a Hugging Face `Dataset` is passed like the list.

# %%
first = pairs[:100]
(folder / "pairs.csv").write_text(
    "en,de\n" + "".join(f"{english},{german}\n" for english, german in first),
    encoding="utf-8",
)
(folder / "pairs.jsonl").write_text(
    "".join(json.dumps({"en": en, "de": de}) + "\n" for en, de in first),
    encoding="utf-8",
)
for column, name in enumerate(("pairs.en", "pairs.de")):
    text = "".join(each[column] + "\n" for each in first)
    (folder / name).write_text(text, encoding="utf-8")

sources = [
    sl.data.TextPairs(folder / "pairs.csv", columns=("en", "de")),
    sl.data.TextPairs(folder / "pairs.jsonl", columns=("en", "de")),
    sl.data.TextPairs((folder / "pairs.en", folder / "pairs.de")),
    sl.data.TextPairs(first),
]
print([list(source.examples("train")) == first for source in sources])
assert all(list(source.examples("train")) == first for source in sources)

# %% [markdown]
# ## A bad row
#
# Files of one's own have errors. None of them is skipped or repaired silently, because a model
# that was trained on shifted columns looks like a model that learns slowly. The error names file
# and line. Here the fourth line has a tab too many, and in a second file the translation is
# missing.

# %%
for bad in ("Mara sees\ta lamp\tMara sieht eine Lampe\n", "Mara sees it\t \n"):
    (folder / "bad.tsv").write_text(
        "".join([*lines[:3], bad, *lines[3:6]]), encoding="utf-8"
    )
    try:
        list(sl.data.TextPairs(folder / "bad.tsv").examples("train"))
    except ValueError as error:
        message = str(error).replace(str(folder), "…")
        print(message, end="\n\n")
    assert "bad.tsv, line 4" in message

# %% [markdown]
# ## A split of one's own
#
# What should a test measure? If we draw the test sentences at random, nearly every person in them
# also occurs in training. The test then says nothing about new names, and in use, names are new.
# So we split by person: the sentences about 100 people are held out completely. A second test
# split, drawn at random from the rest, is the usual one.

# %%
drawn = rng.sample(pairs, 400)
known_by_chance = {english.split()[0] for english, _ in set(pairs) - set(drawn)}
share = np.mean([english.split()[0] in known_by_chance for english, _ in drawn])
print(f"random split: {share:.0%} of the test sentences are about known people")
assert share > 0.95

held_out = set(rng.sample(people, 100))
new_names = [each for each in pairs if each[0].split()[0] in held_out][:400]
rest = [each for each in pairs if each[0].split()[0] not in held_out]
known_names, train = rest[:400], rest[400:]

in_training = {english.split()[0] for english, _ in train}
known_names = [e for e in known_names if e[0].split()[0] in in_training]
tests = {"known names": known_names, "new names": new_names}
print(len(train), "for training,", {k: len(v) for k, v in tests.items()})
assert not in_training & {english.split()[0] for english, _ in new_names}

# %% [markdown]
# ## Three tokenizers
#
# - `"word"` splits at white space. Each word of the training split is a token.
# - `"bpe"`, byte-level byte-pair encoding, starts from the 256 bytes and repeatedly merges the most
#   frequent pair of neighbors, until there are `vocab_size` tokens
#   ([Sennrich et al. 2016](../bibliography.md#sennrich-et-al-2016)). Frequent words become one
#   token, rare ones a few.
# - `"char"` has one token for each character.
#
# All of them are trained on the training split alone. Otherwise the test would not be one: the
# vocabulary would already contain its words. The same `Text` for source and target makes one
# joint vocabulary, which is useful when words, like names, are the same in both languages.
#
# A batch has at most `batch_tokens` tokens on its longer side, padding included. Since a sentence
# has a different number of tokens with each tokenizer, we set it so that a batch has about 25 to 35
# sentences in all cases.

# %%
fields = {
    "words": sl.data.Text("word"),
    "byte pairs": sl.data.Text("bpe", vocab_size=450),
    "characters": sl.data.Text("char"),
}
longest = {"words": 10, "byte pairs": 16, "characters": 44}
datas = {
    name: sl.data.TextPairs(
        train, source=field, target=field, batch_tokens=24 * longest[name]
    )
    for name, field in fields.items()
}

# %% [markdown]
# What does the model really see? `encode` gives the ids of a text and `tokens` the text of each
# id. Look at it once for each data set of yours: many errors are visible here, and nowhere else.

# %%
examples = [tests["known names"][0][0], tests["new names"][0][0]]
for name, data in datas.items():
    spec = data.spec.source
    print(f"{name}: {spec.vocab_size} ids")
    with warnings.catch_warnings(action="ignore"):  # see below
        for ids in spec.encode(examples):
            print("  " + "|".join(spec.tokens(ids)))

words = datas["words"].spec.source
assert words.tokens(words.encode([examples[0]])[0])[0] != "<unk>"
assert len(words.unknown_symbols(examples[1])) == 1

# %% [markdown]
# The new name is `<unk>` as a word: the model cannot see which one it was. As byte pairs it is a
# few letters and syllables, as characters it is spelled out. This is what the ignored warning
# says, in `generate` as well as in `trainer.test`:

# %%
with warnings.catch_warnings(record=True, action="always") as caught:
    words.encode(examples)
print(caught[0].category.__name__, caught[0].message, sep=": ")
assert "UnknownSymbolWarning" in str(caught[0].category)

# %% [markdown]
# `warnings.simplefilter("error", sl.spec.raw_inputs.UnknownSymbolWarning)` makes it an error.
#
# ## A bound before training
#
# A translation that contains a word outside the vocabulary cannot be written. `<unk>` does not
# occur in training, so no model has learned it, and it is never generated. The exact match is
# therefore bounded by the share of references without such a word, whatever the model is:

# %%
bounds = {}
for name, data in datas.items():
    target = data.spec.target
    for split, examples_of in tests.items():
        writable = [not target.unknown_symbols(de) for _, de in examples_of]
        bounds[name, split] = np.mean(writable)
    print(f"{name:11}", *(f"{k}: {bounds[name, k]:5.0%}   " for k in tests))
assert bounds["words", "new names"] == 0
assert min(v for k, v in bounds.items() if k != ("words", "new names")) == 1

# %% [markdown]
# ## Lengths and padding
#
# The price of small tokens is length. A recurrent network takes a step per token, and attention
# compares all pairs of tokens.

# %%
# | fig-alt: Histogram of the number of tokens of a German sentence: about eight words, about
# |   twelve byte pairs, more than thirty characters.
# | fig-cap: Length of the German sentences by tokenizer.
lengths = {
    name: data.dataset("train").target_lengths for name, data in datas.items()
}
figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
bins = np.arange(0.5, 50)
for name, each in lengths.items():
    axes.hist(each, bins, label=f"{name}: mean {each.mean():.1f}", alpha=0.7)
axes.set(
    xlabel="tokens of a German sentence, start and end included",
    ylabel="sentences",
)
_ = axes.legend()
means = [each.mean() for each in lengths.values()]
assert means[0] * 1.2 < means[1] < means[2] / 2

# %% [markdown]
# Sentences of a batch are padded to the same length. Padding is computed and thrown away, so the
# data module puts sentences of similar length into a batch. Compare its share of padding with
# that of batches drawn without regard to length:

# %%
for name, data in datas.items():
    batches = list(data.train_dataloader())
    tokens = sum(int(batch.target_lengths.sum()) for batch in batches)
    planned = 1 - tokens / sum(batch.target.numel() for batch in batches)
    size = len(train) // len(batches)
    random_batches = lengths[name][: size * len(batches)].reshape(-1, size)
    padded = random_batches.max(1, keepdims=True)
    unsorted = 1 - random_batches.sum() / (padded.sum() * size)
    print(
        f"{name:11} {len(batches)} batches; padding {planned:5.1%}, "
        f"without sorting {unsorted:5.1%}"
    )
    assert planned < unsorted

# %% [markdown]
# ## Training
#
# The model is the same in all three cases, an encoder and a decoder with attention, with the same
# recipe and number of epochs; only the embeddings have the size of the vocabulary. Encoder, decoder
# and output layer share them (`tie_embeddings=True`), which a joint vocabulary permits: a name is
# then the same vector on both sides, and the decoder can copy it by attending to its tokens one
# after the other.


# %%
def trained(data, epochs=4):
    """Train the model on these data."""
    L.seed_everything(0, verbose=False)
    recipe = sl.Recipe(lr=4e-3, warmup_steps=50, schedule="cosine")
    model = sl.AttentionSeq2Seq(
        data.spec,
        d_model=96,
        dropout=0.0,
        tie_embeddings=True,
        recipe=recipe,
    )
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return model.eval()


def exact_match(model, examples):
    """The share of sentences whose translation is the reference."""
    sources, references = zip(*examples, strict=True)
    with warnings.catch_warnings(action="ignore"):  # of unknown words
        outputs = model.generate(list(sources))
    return np.mean(
        [
            output == reference
            for output, reference in zip(outputs, references, strict=True)
        ]
    )


translators = {name: trained(data) for name, data in datas.items()}
scores = {
    (name, split): exact_match(model, examples_of)
    for name, model in translators.items()
    for split, examples_of in tests.items()
}

# %%
# | fig-alt: Bars of the exact match: on known names all three models are near 100%; on new names
# |   words have 0%, byte pairs and characters most of the sentences.
# | fig-cap: Exact match on known and on new names by tokenizer.
figure, axes = plt.subplots(figsize=(7, 2.6), layout="constrained")
for shift, split in ((-0.2, "known names"), (0.2, "new names")):
    heights = [scores[name, split] for name in fields]
    bars = axes.bar(np.arange(3) + shift, heights, 0.38, label=split)
    axes.bar_label(bars, [f"{height:.0%}" for height in heights])
axes.set(xticks=range(3), xticklabels=fields, ylim=(0, 1.15))
axes.set_ylabel("exact match")
_ = figure.legend(loc="outside right center")

for name in fields:
    assert scores[name, "known names"] > 0.9
assert scores["words", "new names"] == 0
assert scores["byte pairs", "new names"] > 0.7
assert scores["characters", "new names"] > 0.7

# %% [markdown]
# With words, sequences are the shortest, and one row of the embedding stands for a name, as long as
# it is known. On new names the bound holds, and it is 0. Byte
# pairs and characters translate most sentences with names that no one has shown them. What do the
# errors look like?

# %%
sources, references = zip(*tests["new names"], strict=True)
outputs = {}
for name, model in translators.items():
    with warnings.catch_warnings(action="ignore"):
        outputs[name] = model.generate(list(sources))
for number in range(3):
    print(f"{'reference':11} {references[number]}")
    for name, texts in outputs.items():
        print(f"{name:11} {texts[number]}")
    print()


def without_name(text):
    """The words of a German sentence except the name, the fourth from last."""
    each = text.split()
    return each[:-4] + each[-3:]


rest_right = {
    name: np.mean(
        [
            without_name(text) == without_name(reference)
            for text, reference in zip(texts, references, strict=True)
        ]
    )
    for name, texts in outputs.items()
}
print("right, except for the name:")
for name, share in rest_right.items():
    print(f"{name:11} {share:.0%}")
    assert share > 0.9

# %% [markdown]
# The word-level model has learned the grammar too. It writes the name of another person, because it
# has to write *some* word of its vocabulary. That is worse than a gap: nothing in the output
# shows that it is wrong. The errors of the other two are in the spelling of the name: a letter or
# a syllable is lost, or replaced by another one.
#
# So: if the words of a task are a closed class (commands, tags, log lines of one program), words
# are the simplest choice. Otherwise take byte pairs, the default of `TextPairs`: they can write
# every text, at a third of the length of characters here. Characters are the choice if there is
# little text, or if the spelling itself is the task, as with dates or with rhymes.
#
# ## A tokenizer of another library
#
# If a `tokenizer.json` of Hugging Face or a SentencePiece `.model` exists, pass its path. To have
# one, we train one with the library `tokenizers`, of the kind that BERT uses. Its special tokens
# have other names and ids than ours. They are mapped: ids 0 to 3 are padding, unknown, start and
# end in every vocabulary.

# %%
foreign = Tokenizer(models.WordPiece(unk_token="[UNK]"))
foreign.pre_tokenizer = pre_tokenizers.Whitespace()
foreign.train_from_iterator(
    [text for example in train for text in example],
    trainers.WordPieceTrainer(
        vocab_size=300,
        special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]"],
        show_progress=False,
    ),
)
foreign.save(str(folder / "tokenizer.json"))

text = sl.data.Text(str(folder / "tokenizer.json"))
spec = sl.data.TextPairs(train, source=text, target=text).spec.source
(ids,) = spec.encode([examples[1]])
print(foreign.encode(examples[1]).tokens)
print(spec.tokens(ids))
print("reserved:", spec.tokens(range(4)))
assert len(spec.tokens(ids)) == len(foreign.encode(examples[1]).tokens)
assert spec.tokens(range(4)) == ["<pad>", "<unk>", "<s>", "</s>"]

# %% [markdown]
# ## Saving: the tokenizer travels with the model
#
# A model without its tokenizer is useless, and one with a slightly different tokenizer is worse:
# it gives nonsense without an error. In seqlearn the tokenizer is a part of the spec, and the
# spec is in every checkpoint and in every saved model. We save one, delete all files with data,
# and load it again: texts go in, texts come out.

# %%
translators["byte pairs"].save_pretrained(folder / "translator")
for path in folder.glob("*.*"):
    path.unlink()
print("left:", sorted(path.name for path in folder.rglob("*.*")))

loaded = sl.AttentionSeq2Seq.from_pretrained(folder / "translator")
print(loaded.generate(["Lufora paints a red bike on Monday"]))
assert loaded.generate(list(sources[:50])) == outputs["byte pairs"][:50]

# %% [markdown]
# To train it on with other data, `data.use_spec(loaded.spec)` gives these data its tokenizers;
# see [Fine-tuning](../fine-tuning.md). Data with a vocabulary of their own are refused:

# %%
trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
try:
    trainer.fit(loaded, datas["characters"])
except ValueError as error:
    print(error)
    refused = True
assert refused

# %% [markdown]
# ## Exercises
#
# **1.** A larger vocabulary makes sequences shorter. Why not take one so large that each word is
# a token? Train byte pairs without `vocab_size`, and compare how many known and how many new
# names are a single token.
#
# <details markdown>
# <summary>Solution</summary>

# %%
for vocab_size in (450, None):
    text = sl.data.Text("bpe", vocab_size=vocab_size)
    spec = sl.data.TextPairs(train, source=text, target=text).spec.source
    whole = {
        group: np.mean([len(ids) == 1 for ids in spec.encode(sorted(names))])
        for group, names in (("known", in_training), ("new", held_out))
    }
    print(f"{spec.vocab_size} ids:", {k: f"{v:.0%}" for k, v in whole.items()})
assert whole["known"] > 0.9
assert whole["new"] < 0.1

# %% [markdown]
# With all merges, every known name is one token, like a word. No name in training consists of
# several tokens, so the model never learns to copy one, and the pieces of a new name are tokens
# that it hardly knows. Byte pairs generalize because they are *few*. (Trained in this way once, the
# model had all known names right and no new one, like the word-level model.)
#
# </details>
#
# **2.** With `lowercase=True` a vocabulary is smaller. What is then the bound of the exact match?
# Compute it as above, but without `unknown_symbols`: encode and decode the references.
#
# <details markdown>
# <summary>Solution</summary>

# %%
for lowercase in (False, True):
    text = sl.data.Text("bpe", vocab_size=450, lowercase=lowercase)
    spec = sl.data.TextPairs(train, source=text, target=text).spec.target
    decoded = spec.decode(spec.encode(list(references)))
    bound = np.mean([a == b for a, b in zip(decoded, references, strict=True)])
    print(f"lowercase={lowercase}: at most {bound:.0%}; {decoded[0]}")
    assert bound == (not lowercase)

# %% [markdown]
# It is 0: the output is in lower case, and references are not changed, since a user wants to read
# what is written. `lowercase` is for sources, and for targets whose case does not matter.
#
# </details>
#
# **3.** Train a classifier that tells from the English sentence whether the noun is masculine,
# feminine or neuter in German. Write the labels to a CSV file and use `LabelledText`.
#
# <details markdown>
# <summary>Solution</summary>

# %%
genders = {"einen": "masculine", "eine": "feminine", "ein": "neuter"}
for split, examples_of in (("train", train), ("test", new_names)):
    labelled = [
        f"{english},{genders[german.split()[-3]]}\n"
        for english, german in examples_of
    ]
    (folder / f"{split}.csv").write_text(
        "text,label\n" + "".join(labelled), encoding="utf-8"
    )
data = sl.data.LabelledText(
    folder / "train.csv",
    val=0.05,
    test=folder / "test.csv",
    columns=("text", "label"),
)
classifier = sl.GRU(data.spec, d_model=32, recipe=sl.Recipe(lr=4e-3))
trainer = L.Trainer(
    max_epochs=1,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
with warnings.catch_warnings(action="ignore"):  # of unknown words
    trainer.fit(classifier, data)
    (figures,) = trainer.test(classifier, data, verbose=False)
print(f"new names, with words as tokens: {figures['test/accuracy']:.0%}")
assert figures["test/accuracy"] > 0.95

# %% [markdown]
# Words are enough here, with the same new names: the label does not depend on the person, and the
# labels are a closed class. What counts is not how many words are unknown, but whether the task
# needs them.
#
# </details>
#
# ## Next
#
# [Data](../data.md) describes all sources and fields, among them limits of length and weights of
# classes. [Fine-tuning](../fine-tuning.md) continues the training of a model with other data, and
# [the command line](command_line.md) trains, tests and exports such a model without Python.
