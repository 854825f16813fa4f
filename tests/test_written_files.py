"""Every file that the package writes is complete or absent, also on a full disk."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "seqlearn"

WRITES = {"write_text", "write_bytes", "savefig", "save", "savez", "savez_compressed", "tofile"}
WRITES |= {"save_file", "save_model", "to_csv", "to_json", "copyfile", "copy2", "copytree"}
WRITES |= {"saving", "touch"}
"""Functions that write a file, by their last name."""

ELSEWHERE = {
    "introspect/plots/figure.py": "the buffer of a notebook's picture",
    "data/sources/download.py": "appends to `.part`, which is verified by its digest and renamed",
    "data/sources/stream_tables.py": "into a folder of the cache, which is renamed as a whole",
    "cli/saved_config.py": "also writes to remote file systems, which replace whole objects",
    "export/folder.py": "into the folder of an export, which is renamed as a whole",
    "export/onnx_format.py": "likewise",
    "export/torch_export_format.py": "likewise",
    "export/ctranslate2_format.py": "likewise",
    "export/live_page.py": "likewise",
    "atomic_files.py": "an empty file, of which the mode of new files is read",
    "testing/laws/side_effects.py": "a buffer in memory",
    "comparison/charts.py": "a buffer in memory",
    "comparison/evaluation.py": "a recording, which is written as a whole",
}
"""Files whose writes are none of `atomic_path`, with the reason."""


def writes_in_place(source: str) -> Iterator[int]:
    """The lines of calls that write files outside of a `with atomic_path(…)`."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.With) and "atomic_path(" in "".join(map(ast.unparse, block.items))
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or id(node) in inside:
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        plain = [each for each in node.args if not isinstance(each, ast.Starred)]
        if name in WRITES or (name == "dump" and len(plain) > 1):  # of json: a value, a file
            yield node.lineno
        if name in ("open", "open_memmap", "memmap"):
            given = [*node.args, *(word.value for word in node.keywords)]
            texts = [each.value for each in given if isinstance(each, ast.Constant)]
            modes = [
                text for text in texts if isinstance(text, str) and set(text) <= set("rwaxbt+")
            ]
            if any(set(mode) & set("wax+") for mode in modes):
                yield node.lineno


def test_the_package_writes_files_as_a_whole() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        # The cache of data is written into a folder that is renamed as a whole (data/cache.py).
        cached = name.startswith("data/") and not name.startswith("data/sources/")
        if not cached and name not in ELSEWHERE:
            lines = writes_in_place(path.read_text(encoding="utf-8"))
            found += [f"seqlearn/{name}:{line}" for line in lines]
    assert found == [], "write to the path that atomic_path gives (seqlearn/atomic_files.py)"


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text(text, encoding='utf-8')",
        "open(path, 'w', encoding='utf-8')",
        "path.open(mode='ab')",
        "np.save(path, array)",
        "json.dump(value, file)",
        "np.lib.format.open_memmap(path, mode='w+', shape=shape)",
        "torch.save(state, path)",
        "figure.savefig(path)",
        "with other(path) as part:\n    part.write_bytes(data)",
    ],
)
def test_a_write_in_place_is_found(line: str) -> None:
    assert list(writes_in_place(line))


@pytest.mark.parametrize(
    "line",
    [
        "with atomic_path(path, 'it', 'there') as part:\n    part.write_text(text)",
        "with atomic_path(path, 'it', 'there') as part, part.open('wb') as file:\n    f(file)",
        "open(path, 'rb')",
        "parser.dump(config, skip_none=False)",
        "open(path)",
    ],
)
def test_other_calls_are_let_through(line: str) -> None:
    assert not list(writes_in_place(line))


WRITER = """
import json, resource, signal, sys
from contextlib import contextmanager
from pathlib import Path
import torch
import seqlearn as sl
from seqlearn.callbacks.figure_logger import FigureLogger

folder = Path(sys.argv[1])
spec = sl.SequenceSpec(sl.TextSpec(9, 6), sl.TextSpec(9, 6))
torch.manual_seed(0)
model = sl.Transformer(spec, d_model=16, num_layers=1, num_heads=2)
with sl.record(model) as recording:
    model.generate([[4, 5, 6], [7]], max_new_tokens=4)
figure = recording.plot("decoder.layers.0.cross_attention", example=0)
logger = FigureLogger([], folder, step=1)
writers = {
    "run.safetensors": lambda: recording.save(folder / "run.safetensors"),
    "run.html": lambda: recording.to_html(folder / "run.html"),
    "run.gif": lambda: recording.to_gif(folder / "run.gif"),
    "picture-step000001.png": lambda: logger.figure("picture", figure),
    "table-step000001.txt": lambda: logger.table("table", ["a", "b"], [["x" * 2000, "y"]]),
    "model.safetensors": lambda: model.save_pretrained(folder),
}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for write in writers.values():
    write()
before = {path.name: path.read_bytes() for path in folder.iterdir()}
messages = {}
with torch.no_grad():
    model.head.bias.add_(1)
for name, write in writers.items():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        write()
    except OSError as error:
        messages[name] = str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
after = {path.name: path.read_bytes() for path in folder.iterdir()}
print(json.dumps({
    "messages": messages, "written": sorted(before), "left": sorted(set(after) - set(before)),
    "changed": [name for name in before if before[name] != after.get(name)],
}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX systems")
def test_a_full_disk_changes_no_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        capture_output=True, encoding="utf-8", check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    written = set(found["written"])
    assert written == set(found["messages"]) | {"config.json"}
    assert (found["changed"], found["left"]) == ([], [])
    for name, message in found["messages"].items():
        assert "the disk is full: could not write" in message, name
        assert "choose another folder with" in message
        assert str(tmp_path) in message
        known = name in ("run.safetensors", "run.html", "model.safetensors")
        assert ("needed" in message) is known
