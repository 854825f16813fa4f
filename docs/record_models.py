"""Train the models of the site's pictures, and record each while it answers one text.

    python docs/record_models.py FOLDER [--only rnn lstm …] [--models FOLDER]

`attention` translates the 29,000 captions of Multi30k (Elliott et al. 2016), word by word; FOLDER
holds them, such as `train.en.gz`. `rnn` says in which language a date is written. `lstm` and `gru`
are the shipped configurations that translate dates, such as `configs/dates-lstm.yaml`, and
`transformer` is the model of `seqlearn demo`. All have seed 0.

`docs/recordings/NAME.safetensors` holds what a model did with its text, and
`docs/recordings/models.json` its figure on the test split, its answer, and the versions. With
`--models`, trained models are saved there, and one that is there already is not trained again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import lightning as L
import torch

import seqlearn as sl
from seqlearn.introspect import DETAILED
from seqlearn.metrics import CorpusBLEU

ROOT = Path(__file__).resolve().parent.parent
RECORDINGS = ROOT / "docs" / "recordings"
TOKEN = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
SENTENCE, DATE = "two dogs are playing in the snow .", "Sunday, November 22, 2026"
CONFIGURATIONS = ("lstm", "gru")
CLASSES: dict[str, type[sl.SequenceModule]] = {
    "attention": sl.AttentionSeq2Seq,
    "rnn": sl.RNN,
    "lstm": sl.LSTM,
    "gru": sl.GRU,
    "transformer": sl.Transformer,
}


def pairs(root: Path, split: str) -> list[dict[str, str]]:
    """The pairs of a split, tokens separated by spaces."""
    sides = [
        [
            " ".join(TOKEN.findall(line))
            for line in gzip.decompress((root / f"{split}.{language}.gz").read_bytes())
            .decode()
            .splitlines()
        ]
        for language in ("en", "de")
    ]
    return [{"en": en, "de": de} for en, de in zip(*sides, strict=True)]


def captions(root: Path) -> sl.data.TextPairs:
    """Multi30k, one token per word or punctuation mark."""
    return sl.data.TextPairs(
        *(pairs(root, name) for name in ("train", "val", "test_2016_flickr")),
        source=sl.data.Text("word", vocab_size=8_000, lowercase=True),
        target=sl.data.Text("word", vocab_size=8_000),
        columns=("en", "de"),
        batch_tokens=2_048,
    )


def main() -> None:
    """Train, test and record the models."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--only", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--models", type=Path)
    options = parser.parse_args()
    for name in options.only:
        if name == "attention":
            data: sl.data.SequenceDataModule = captions(options.root)
        else:
            task = "sequence-to-vector" if name == "rnn" else "sequence-to-sequence"
            data = sl.data.Dates("en", "de", task=task, batch_tokens=956)
        data.setup("fit")
        data.setup("test")
        saved = None if options.models is None else options.models / name
        if saved is not None and saved.is_dir():
            model = CLASSES[name].from_pretrained(saved)
        else:
            model = trained(name, data)
            if saved is not None:
                model.save_pretrained(saved)
        print(json.dumps({name: record(name, model, data)}, ensure_ascii=False), flush=True)


def trained(name: str, data: sl.data.SequenceDataModule) -> sl.SequenceModule:
    """A trained model."""
    if name in CONFIGURATIONS:
        config = ROOT / "configs" / f"dates-{name}.yaml"
        option = "--trainer.default_root_dir"
        return run(name, "epoch=*.ckpt", option, "fit", "--config", str(config))
    if name == "transformer":
        return run(name, "dates.ckpt", "--directory", "demo")
    L.seed_everything(0)
    if name == "attention":
        recipe = sl.Recipe(lr=3e-3, warmup_steps=400, schedule="cosine", label_smoothing=0.1)
        options: dict[str, Any] = {"d_model": 256, "num_layers": 1, "dropout": 0.3}
        model: sl.SequenceModule = sl.AttentionSeq2Seq(data.spec, recipe=recipe, **options)
    else:
        model = sl.RNN(data.spec, d_model=48, bidirectional=False)
    trainer = L.Trainer(
        max_epochs=8 if name == "attention" else 4,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.fit(model, data)
    return model.eval()


def run(name: str, pattern: str, option: str, *words: str) -> sl.SequenceModule:
    """The model that a command of seqlearn trains; `option` names its folder."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(sys.executable).with_name("seqlearn")
        command = [str(program), *words, option, folder]
        subprocess.run(command, check=True)  # noqa: S603
        (checkpoint,) = Path(folder).rglob(pattern)
        return CLASSES[name].load_from_checkpoint(checkpoint)


def record(name: str, model: sl.SequenceModule, data: sl.data.SequenceDataModule) -> dict[str, Any]:
    """Test a model, record it, and write both."""
    sources, targets = zip(*data.examples("test"), strict=True)
    answers = model.predict(sources)
    if name == "attention":
        bleu = CorpusBLEU(lowercase=True, tokenize="none")
        bleu.update(answers, targets)
        figure = {"test_bleu_lowercase_tokenized": round(float(bleu.compute()), 2)}
    else:
        right = sum(a == b for a, b in zip(answers, targets, strict=True))
        figure = {"test_exact_match": round(right / len(targets), 4)}
    text = SENTENCE if name == "attention" else DATE
    with sl.record(model, what=DETAILED) as recording:
        (answer,) = model.predict([text])
    RECORDINGS.mkdir(exist_ok=True)
    recording.save(RECORDINGS / f"{name}.safetensors")
    path = RECORDINGS / "models.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[name] = {
        "model": type(model).__name__,
        "data": "captions" if name == "attention" else "dates",
        **figure,
        "source": text,
        "answer": answer,
        "parameters": sum(p.numel() for p in model.parameters()),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    path.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return known[name]


if __name__ == "__main__":
    main()
