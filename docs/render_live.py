"""Train the models of the page "Live", and write each as a folder that runs in a browser.

    python docs/render_live.py [--only transformer …]

Takes minutes the first time. A folder in `docs/live/` is made again when this file or the package
has changed; otherwise it is copied from `.cache/live/`. onnxruntime-web comes from npm where npm is
installed, and otherwise from a content delivery network; both are verified.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L

import seqlearn as sl
from seqlearn.export.web_runtime import FILES, VERSION, runtime_files

ROOT = Path(__file__).resolve().parent.parent
PAGES, CACHE = ROOT / "docs" / "live", ROOT / ".cache" / "live"
EXAMPLES = [
    "Sunday, November 22, 2026",
    "July 4, 1976",
    "3 Oct 1990",
    "Thursday, February 29, 2024",
]


TRANSLATED_DATES = partial(
    sl.data.Dates, source_locale="en", target_locale="de", batch_tokens=1_046
)


class Live(NamedTuple):
    """A model of the page.

    Attributes:
        module: The class.
        options: Its arguments.
        data: Makes its data.
        epochs: Epochs of training.
        figure: What is tested, and the least that it must reach.
        title: The title of its page.
        about: The sentences below it; its figure is added.
        examples: Texts to choose from.
        opens: The picture that is shown first.
    """

    module: type[sl.SequenceModule]
    options: dict[str, Any]
    data: Callable[[], sl.data.SequenceDataModule]
    epochs: int
    figure: tuple[str, float]
    title: str
    about: str
    examples: list[str]
    opens: str


MODELS = {
    "transformer": Live(
        sl.Transformer,
        {"d_model": 64, "num_layers": 2, "num_heads": 4},
        TRANSLATED_DATES,
        4,
        ("test/exact_match", 0.9),
        "A Transformer",
        "Two layers of width 64. It reads English dates and writes German ones, by characters.",
        EXAMPLES,
        "multi_head_per_token",
    ),
    "sentences": Live(
        sl.Transformer,
        {
            "d_model": 64,
            "num_layers": 2,
            "num_heads": 4,
            "dropout": 0.0,
            "recipe": sl.Recipe(lr=3e-3, warmup_steps=50, schedule="cosine"),
        },
        partial(sl.data.Sentences, batch_tokens=1_024),
        4,
        ("test/exact_match", 0.9),
        "A Transformer that reads words",
        "Two layers of width 64. It reads short English sentences and writes German ones, word by "
        "word. After “can”, “must” or “will” the verb goes to the end. It knows only the words of "
        "a small grammar.",
        [
            "today the big dog can see a small mouse",
            "the owl knows a young king",
            "now a child must seek the old horse",
        ],
        "multi_head_per_token",
    ),
    "attention": Live(
        sl.AttentionSeq2Seq,
        {"d_model": 64, "cell": "lstm"},
        TRANSLATED_DATES,
        4,
        ("test/exact_match", 0.9),
        "LSTM with attention",
        "Width 64. For every character that it writes, it attends to all characters of the source.",
        EXAMPLES,
        "cross_attention_steps",
    ),
    "lstm": Live(
        sl.LSTM,
        {"d_model": 32},
        partial(sl.data.Dates, task="sequence-to-vector", batch_tokens=956),
        1,
        ("test/accuracy", 0.9),
        "An LSTM classifier",
        "A state of width 32, character by character. It says in which language a date is written.",
        ["22 novembre 2026", "Sonntag, 22. November 2026", "domingo, 22 de noviembre de 2026"],
        "gates",
    ),
}


FIGURES = {
    "test/exact_match": "of unseen texts are translated without an error",
    "test/accuracy": "of unseen texts get the right label",
}
"""What the figures are, in words."""


def main() -> None:
    """Write the folders of all models, or of some."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS))
    for name in parser.parse_args().only:
        kept = _rendered(name, MODELS[name])
        shutil.rmtree(PAGES / name, ignore_errors=True)
        shutil.copytree(kept, PAGES / name)


def sources() -> list[Path]:
    """The files that decide what the folders are."""
    package = [path for path in (ROOT / "seqlearn").rglob("*.*") if path.suffix != ".pyc"]
    return [Path(__file__), *sorted(path for path in package if path.is_file())]


def _rendered(name: str, live: Live) -> Path:
    """The cache folder of a page; created if necessary."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources())).hexdigest()
    kept = CACHE / name / digest[:16]
    if not kept.is_dir():
        model, figure = trained(name, live)
        model.to_page(
            kept,
            live.examples,
            title=live.title,
            about=f"{live.about} {figure:.1%} {FIGURES[live.figure[0]]} (seed 0).",
            opens=live.opens,
            runtime=runtime(),
        )
        for old in kept.parent.iterdir():
            if old != kept:
                shutil.rmtree(old, ignore_errors=True)
    return kept


def trained(name: str, live: Live) -> tuple[sl.SequenceModule, float]:
    """A model that was trained with seed 0 and reaches its figure, and the figure.

    Raises:
        SystemExit: If it does not.
    """
    print(f"docs: training the model {name!r} of the live page", flush=True)
    L.seed_everything(0, verbose=False)
    data = live.data()
    data.setup("fit")
    model = live.module(data.spec, **live.options)
    trainer = L.Trainer(
        max_epochs=live.epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    figures = trainer.test(model, data, verbose=False)[0]
    key, least = live.figure
    print(f"docs: {name}: {key} {figures[key]:.1%}", flush=True)
    if figures[key] < least:
        raise SystemExit(f"docs: expected {key} of at least {least:.0%} from the model {name!r}")
    return model.eval(), figures[key]


def runtime() -> Path | None:
    """The folder of the runtime, fetched once; `None` leaves the download to seqlearn."""
    folder = CACHE / f"onnxruntime-web-{VERSION}"
    npm = shutil.which("npm")
    if folder.is_dir():
        return folder
    if npm is None:
        return None
    with tempfile.TemporaryDirectory() as temporary:
        words = [npm, "pack", "--silent", f"onnxruntime-web@{VERSION}"]
        if subprocess.run(words, cwd=temporary, check=False).returncode:  # noqa: S603
            return None
        with tarfile.open(next(Path(temporary).glob("*.tgz"))) as archive:
            for name in FILES:
                archive.extract(f"package/dist/{name}", temporary, filter="data")
        found = Path(temporary) / "package" / "dist"
        runtime_files(found)
        shutil.copytree(found, folder)
    return folder


if __name__ == "__main__":
    main()
