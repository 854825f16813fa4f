"""Execute the tutorials and write each as a page: its text, its code, and its output.

`tutorials/NAME.py` (py:percent) becomes `docs/tutorials/NAME.md`, with its pictures and a notebook
next to it. A cell that draws a picture starts with comments in the form of Quarto: `# | fig-alt: …`
says what is seen, for readers who do not see it, and `# | fig-cap: …` is the caption. The code of a
figure and the assertions are folded. A page is rendered again when the
tutorial, the package or this file has changed; otherwise it is copied from `.cache/tutorials/`. An
error in a cell fails the build. Standard error (warnings, log lines) is printed during the build
and is not part of the page.

    python docs/render_tutorials.py [--imports-only] [FOLDER OF TUTORIALS [FOLDER FOR PAGES]]

With `--imports-only`, only the import statements of each tutorial are executed, in seconds. This
verifies that every package is installed and that the site builds. These pages have no output, say
so, and are not cached.
"""

from __future__ import annotations

import argparse
import ast
import base64
import hashlib
import itertools
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell
from notebooks import with_links, write_notebook
from tutorial_cells import block, figure, figure_options, split_code

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "tutorials"
GRAY = "#808080"
"""The color of text and axes: legible on a light and on a dark page."""
EDGES = ("axes.edgecolor", "legend.edgecolor")
STYLE = {
    "figure.dpi": 120,
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), "none"),
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", *EDGES), GRAY),
}
SET_UP = f"%matplotlib inline\n__import__('matplotlib').rcParams.update({STYLE})"
PICTURES = {
    "image/svg+xml": ("svg", False),
    "image/png": ("png", True),
    "text/html": ("html", False),
}
"""MIME types of pictures: the file suffix, and whether the data are base64."""
CONTROL = re.compile(r"\x1b\[([\d;]*)([A-Za-z])|([\r\n\b])")


def main(
    tutorials: Path = ROOT / "tutorials",
    pages: Path = ROOT / "docs" / "tutorials",
    *,
    imports_only: bool = False,
) -> None:
    """Write the page of every tutorial, and remove all other pages."""
    scripts = sorted(tutorials.glob("*.py"))
    if not scripts:
        raise SystemExit(f"docs: expected tutorials in {tutorials}, found none")
    shutil.rmtree(pages, ignore_errors=True)
    for script in scripts:
        if imports_only:
            pages.mkdir(parents=True, exist_ok=True)
            page = render(script, pages, imports_only=True)
            (pages / f"{script.stem}.md").write_text(page, encoding="utf-8")
        else:
            shutil.copytree(_rendered(script), pages, dirs_exist_ok=True)
        shutil.copy(script, pages)
        write_notebook(script, pages / f"{script.stem}.ipynb")
        page = pages / f"{script.stem}.md"
        text = with_links(page.read_text(encoding="utf-8"), script.stem)
        page.write_text(text, encoding="utf-8")


def sources(script: Path) -> list[Path]:
    """The files that decide what the page of a tutorial is."""
    package = [path for path in (ROOT / "seqlearn").rglob("*.*") if path.suffix != ".pyc"]
    return [
        script,
        *sorted(Path(__file__).parent.glob("*.py")),
        *sorted(path for path in package if path.is_file()),
    ]


def _rendered(script: Path) -> Path:
    """The cache folder of a tutorial's page and pictures; created if necessary."""
    files = sources(script)
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()
    kept = CACHE / script.stem / digest[:16]
    if not kept.is_dir():
        started = time.monotonic()
        print(f"docs: running {script.name}", flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".making-") as temporary:
            made = Path(temporary) / "page"
            made.mkdir()
            (made / f"{script.stem}.md").write_text(render(script, made), encoding="utf-8")
            for old in (path for path in kept.parent.iterdir() if path.name[0] != "."):
                shutil.rmtree(old)
            made.rename(kept)
        print(f"docs: {script.name} took {time.monotonic() - started:.0f} seconds", flush=True)
    return kept


def render(script: Path, pictures: Path, *, imports_only: bool = False) -> str:
    """Run a tutorial and give its page as Markdown.

    Args:
        script: A py:percent file.
        pictures: The folder for its pictures.
        imports_only: Execute only the import statements.

    Raises:
        SystemExit: If a cell fails; the message names file and cell.
    """
    notebook = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    if imports_only:
        _run_imports(notebook.cells, script)
    else:
        _run(notebook, script)
    parts: list[str] = []
    files = (f"{script.stem}-{number}" for number in itertools.count(1))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        elif cell.cell_type == "code" and cell.source.strip():
            parts += _code_cell(cell, script, pictures, files)
    how = (
        "of which only the imports were executed" if imports_only else "executed from top to bottom"
    )
    parts.append(f"---\n\nThis page is [`tutorials/{script.name}`]({script.name}), {how}.")
    return "\n\n".join(parts) + "\n"


def _code_cell(cell: Any, script: Path, pictures: Path, names: Iterator[str]) -> Iterator[str]:
    """The parts of the page that show a cell: code, output and figures, checks."""
    options, source = figure_options(cell.source)
    shown = split_code(source)
    if shown.code:
        yield block(shown.code)
    if shown.figure:
        yield block(shown.figure, "Code of the figure")
    for text, picture in _outputs(cell.get("outputs", [])):
        if picture is None:
            yield f"```{{.text .output}}\n{text}\n```"
        elif text == "html":  # embedded in the page
            yield picture.decode()
        elif "fig-alt" not in options:
            raise SystemExit(
                f"docs: {script}: expected the cell that draws a picture to start "
                f"with `# | fig-alt: …`, got `{source.splitlines()[0]}`"
            )
        else:
            name = f"{next(names)}.{text}"
            (pictures / name).write_bytes(picture)
            yield figure(name, options)
    if shown.checks:
        yield block(shown.checks, "Checks")


def _run(notebook: Any, script: Path) -> None:
    """Execute a notebook in a kernel of its own, which leaves the output in its cells."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the Python of this environment
    os.environ.pop("MPLBACKEND", None)
    cells = [new_code_cell(SET_UP), *notebook.cells]
    whole = nbformat.from_dict({**notebook, "cells": cells})
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sockets:
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel")
        client = NotebookClient(
            whole, km=kernel, timeout=None, resources={"metadata": {"path": folder}}
        )
        client.owns_km = True  # so that it also ends the kernel
        with closing(ensure_event_loop()), client.setup_kernel():  # the loop that nbclient uses
            for index, cell in enumerate(whole.cells):
                if cell.cell_type == "code" and cell.source.strip():
                    try:
                        client.execute_cell(cell, index)
                    except CellExecutionError as error:
                        place = _place(cells[1:], index - 1, script)
                        raise SystemExit(
                            f"{error.traceback}\n{place}: {error.ename}: {error.evalue}"
                        ) from None
    notebook.cells = whole.cells[1:]


def _run_imports(cells: list[Any], script: Path) -> None:
    """Execute the import statements of the cells, in this process."""
    for index, cell in enumerate(cells):
        if cell.cell_type == "code":
            try:
                exec(import_statements(cell.source), {})  # noqa: S102 -- our own tutorials
            except ImportError as error:
                reason = f"{type(error).__name__}: {error}"
                raise SystemExit(f"{_place(cells, index, script)}: {reason}") from error


def _place(cells: list[Any], index: int, script: Path) -> str:
    """The cell of a tutorial, for an error."""
    number = sum(cell.cell_type == "code" for cell in cells[: index + 1])
    first = cells[index].source.splitlines()[0]
    return f"docs: {script}, code cell {number}, which starts with `{first}`"


def import_statements(source: str) -> str:
    """The import statements of a cell, including those in functions, in order."""
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    return "\n".join(ast.unparse(node) for node in sorted(nodes, key=lambda node: node.lineno))


def _outputs(outputs: list[Any]) -> Iterator[tuple[str, bytes | None]]:
    """The output of a cell: texts, and pictures as (suffix, bytes), in order."""
    text = ""
    for output in [*outputs, None]:
        data = output.get("data", {}) if output else {}
        picture = next((kind for kind in PICTURES if kind in data), None)
        if output is None or picture or output.output_type == "execute_result":
            if on_screen(text):
                yield on_screen(text), None
            text = ""
        if picture:
            content = data[picture]
            suffix, encoded = PICTURES[picture]
            yield suffix, base64.b64decode(content) if encoded else content.encode()
        elif output and output.output_type == "stream" and output.name == "stderr":
            sys.stderr.write(output.text)
        elif output:
            text += data.get("text/plain", "") or output.get("text", "")


def on_screen(text: str) -> str:
    """The text as a terminal shows it at the end.

    Progress bars overwrite themselves with carriage returns and cursor movements.
    """
    lines, row, column, start = [""], 0, 0, 0
    for match in [*CONTROL.finditer(text), None]:
        piece = text[start : match.start() if match else None]
        lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
        column += len(piece)
        if match is None:
            break
        start, steps = match.end(), int(match[1]) if (match[1] or "").isdigit() else 1
        if match[3] == "\n" or match[2] == "B":
            row += steps
            lines += [""] * (row + 1 - len(lines))
        elif match[2] == "A":
            row = max(0, row - steps)
        elif match[2] == "K":
            lines[row] = lines[row][:column]
        if match[3] == "\b":
            column = max(0, column - 1)
        elif match[3]:
            column = 0
    return "\n".join(line.rstrip() for line in lines).strip("\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Execute the tutorials and write each as a page.")
    parser.add_argument(
        "folders", nargs="*", type=Path, help="folder of tutorials, folder for their pages"
    )
    parser.add_argument(
        "--imports-only", action="store_true", help="execute only import statements"
    )
    options = parser.parse_args()
    main(*options.folders, imports_only=options.imports_only)
