"""Each `seqlearn` command that README.md and the pages show in a console runs, as a user types it.

A shell runs the lines of a page one after the other in one folder, so a later command reads what
an earlier one wrote. Training is cut to two batches; the data of Multi30k, the models and the texts
that a page takes for granted are small stand-ins; runs on GPUs are runs on the CPU.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import numpy as np
import pytest
from snippets import PAGES, ROOT, blocks
from stand_ins import write_stand_ins
from test_commands import COMMANDS_SHOWN, PACKAGE, SAVED

import seqlearn as sl
from seqlearn.export.web_runtime import VERSION

PROGRAM = f"""#!{sys.executable}
import sys
from seqlearn.cli import main

TWO_BATCHES = [
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
]
CPU = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
added = {{
    "fit": TWO_BATCHES + CPU,
    "test": TWO_BATCHES + CPU,
    "compare": TWO_BATCHES + ["--seeds", "0"],
    "demo": ["--max-minutes", "0.05"],
}}.get(sys.argv[1], [])
if "--budget" in sys.argv:
    added = ["--budget", "0.05"]
if "--trainer.devices" in sys.argv:
    added = added + ["--trainer.devices=2"]
if any("multi30k" in word.lower() for word in sys.argv):
    added = added + ["--data.root=files"]
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] + added))
"""
ENTRY_POINTS = """
[seqlearn.models]
MyModel = my_package:MyModel
[seqlearn.data]
MyData = my_package:MyData
"""
BEFORE = {
    "docs/model-selection.md": ["seqlearn fit --config configs/dates-gru.yaml"],
    "docs/deployment.md": [
        f"npm pack --silent onnxruntime-web@{VERSION} && tar -xzf onnxruntime-web-*.tgz",
        "mkdir -p $SEQLEARN_CACHE",
        f"mv package/dist $SEQLEARN_CACHE/onnxruntime-web-{VERSION}",
    ],  # the download, from where npm finds it
}
"""What a page takes for granted."""
MODELS = {
    "seqlearn classify model.ckpt": "classes.ckpt",
    "seqlearn generate model.ckpt": "language.ckpt",
    "seqlearn predict model.ckpt reviews.csv": "reviews.ckpt",
    "seqlearn predict model.ckpt sensors.npz": "series.ckpt",
}
"""The stand-in for `model.ckpt`, by how the command begins; for others, a model of `Dates`."""
TEXTS = {
    "dates.txt": "Sunday, November 22, 2026\nFriday, July 3, 2009\n",
    "in.txt": "Sunday, November 22, 2026\nFriday, July 3, 2009\n",
    "english.txt": "two dogs run\nSunday\n",
    "prompts.txt": "to be\nor\n",
    "reviews.csv": "text,stars\ngood film,5\nbad film,1\n",
}


def console_lines(page: str) -> Iterator[str]:
    """The `seqlearn` commands of a page's consoles, continued lines joined; not other programs."""
    for block in blocks(page):
        if block.language == "console":
            joined = block.code.replace("\\\n", " ")
            for line in joined.splitlines():
                others = "pip install", "-m benchmarks"  # where seqlearn is a contender
                if (
                    line.startswith("$ ")
                    and "seqlearn" in line
                    and not any(other in line for other in others)
                ):
                    yield line.removeprefix("$ ").strip()


LINES = {page: lines for page in PAGES if (lines := list(console_lines(page)))}


def save(model: sl.SequenceModule, data: L.LightningDataModule, path: Path) -> None:
    """The checkpoint of one step of training."""
    trainer = L.Trainer(
        max_steps=1, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=path.parent,
        num_sanity_val_steps=0, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(model, data)
    trainer.save_checkpoint(path)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that pages take for granted."""
    folder = tmp_path_factory.mktemp("stand-ins")
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "files").mkdir()
    write_stand_ins(folder / "files")
    shutil.copytree(ROOT / "configs", folder / "configs")
    for name in SAVED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "configs" / "dates-gru.yaml", folder / name)
    (folder / "my_package.py").write_text(PACKAGE, encoding="utf-8")
    entries = folder / "my_package-1.0.dist-info" / "entry_points.txt"  # as if it were installed
    entries.parent.mkdir()
    entries.write_text(ENTRY_POINTS, encoding="utf-8")
    (entries.parent / "METADATA").write_text("Name: my_package\nVersion: 1.0\n", encoding="utf-8")
    program = folder / "bin" / "seqlearn"
    program.parent.mkdir()
    program.write_text(PROGRAM, encoding="utf-8")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQLEARN_CACHE", str(folder / "cache"))
        dates = sl.data.Dates(first_year=2090, batch_tokens=256)
        save(sl.AttentionSeq2Seq(dates.spec, d_model=16), dates, folder / "model.ckpt")
        weekday = sl.data.Dates(task="sequence-to-vector", first_year=2090, batch_tokens=256)
        save(sl.LSTM(weekday.spec, d_model=16), weekday, folder / "classes.ckpt")
        (folder / "book.txt").write_text("to be or not to be " * 200, encoding="utf-8")
        book = sl.data.PlainText(folder / "book.txt", text=sl.data.Text("char"))
        save(sl.GRU(book.spec, d_model=16), book, folder / "language.ckpt")
        reviews = sl.data.LabelledText(
            [("good film", "pos"), ("bad film", "neg")] * 20, text=sl.data.Text("word")
        )
        save(sl.GRU(reviews.spec, d_model=16), reviews, folder / "reviews.ckpt")
        rows = np.random.default_rng(0).normal(size=(40, 6, 3)).astype("float32")
        np.savez(folder / "sensors.npz", *rows)
        series = sl.data.SeriesFiles((list(rows), ["calm", "storm"] * 20))
        save(sl.GRU(series.spec, d_model=16), series, folder / "series.ckpt")
    (folder / "runs").mkdir()
    shutil.copy(folder / "model.ckpt", folder / "runs" / "dates.ckpt")
    return folder


def as_here(line: str) -> str:
    """The line with the stand-ins of its model and of its number of processes."""
    for start, model in MODELS.items():
        if line.startswith(start):
            line = line.replace("model.ckpt", model)
    return line.replace(".venv/bin/", "").replace("--nproc-per-node 4", "--nproc-per-node 2")


@pytest.mark.slow
@pytest.mark.parametrize("page", LINES)
def test_the_commands_of_a_page_run(page: str, stand_ins: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    shutil.copytree(stand_ins, folder)
    if page == "docs/get-started.md":  # its `fit` writes the run that its `test` reads
        shutil.rmtree(folder / "lightning_logs")
        (folder / "lightning_logs" / "version_-1").mkdir(parents=True)
    paths = [str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = os.environ | {
        "PATH": os.pathsep.join(paths),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]),
        "SEQLEARN_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    for line in BEFORE.get(page, []) + LINES[page]:
        done = subprocess.run(
            ["bash", "-c", as_here(line)],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            encoding="utf-8", errors="replace", timeout=900, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (
            f"$ {as_here(line)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )


def test_no_command_of_a_console_is_left_out() -> None:
    shown = [each for each in COMMANDS_SHOWN if not each.place.startswith("tutorials/")]
    scripts = [each for each in shown if "--trainer.num_nodes" in each.words]  # of Slurm
    assert len(scripts) == 1
    assert sum(len(lines) for lines in LINES.values()) == len(shown) - len(scripts)
