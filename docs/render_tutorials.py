"""Execute the tutorials and write each as a page: its text, its code, and its output.

`tutorials/NAME.py` (py:percent) becomes `docs/tutorials/NAME.md`, with its pictures and a notebook
next to it. A cell that draws a picture starts with a comment that says what is seen, for readers
who do not see it: `# | fig-alt: …` (the form of Quarto). A page is rendered again when the
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
from jupyter_client import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell
from notebooks import with_links, write_notebook

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "tutorials"
SET_UP = "%matplotlib inline\n%config InlineBackend.rc = {'figure.dpi': 120}"
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


def _rendered(script: Path) -> Path:
    """The cache folder of a tutorial's page and pictures; created if necessary."""
    package = [path for path in (ROOT / "seqlearn").rglob("*.*") if path.suffix != ".pyc"]
    sources = [script, Path(__file__), *sorted(path for path in package if path.is_file())]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()
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
    notebook.cells.insert(0, new_code_cell(SET_UP))
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the Python of this environment
    os.environ.pop("MPLBACKEND", None)
    parts: list[str] = []
    shown = 0
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as sockets:
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel")
        client = NotebookClient(
            notebook, km=kernel, timeout=None, resources={"metadata": {"path": folder}}
        )
        client.owns_km = True  # so that it also ends the kernel
        with closing(ensure_event_loop()), client.setup_kernel():  # the loop that nbclient uses
            client.execute_cell(notebook.cells[0], 0)
            for index, cell in enumerate(notebook.cells[1:], 1):
                if cell.cell_type == "markdown":
                    parts.append(cell.source)
                elif cell.cell_type == "code" and cell.source.strip():
                    _execute(client, cell, index, script, imports_only=imports_only)
                    alternative, code = figure_text(cell.source)
                    parts.append(f"```python\n{code}\n```")
                    for text, picture in _outputs(cell.outputs):
                        if picture is None:
                            parts.append(f"```{{.text .output}}\n{text}\n```")
                            continue
                        if text == "html":  # embedded in the page
                            parts.append(picture.decode())
                            continue
                        if not alternative:
                            raise SystemExit(
                                f"docs: {script}: expected the cell that draws a picture to start "
                                f"with `# | fig-alt: …`, got `{code.splitlines()[0]}`"
                            )
                        shown += 1
                        name = f"{script.stem}-{shown}.{text}"
                        (pictures / name).write_bytes(picture)
                        parts.append(f"![{alternative}]({name})")
    how = (
        "of which only the imports were executed" if imports_only else "executed from top to bottom"
    )
    parts.append(f"---\n\nThis page is [`tutorials/{script.name}`]({script.name}), {how}.")
    return "\n\n".join(parts) + "\n"


def import_statements(source: str) -> str:
    """The import statements of a cell, including those in functions, in order."""
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import | ast.ImportFrom)]
    return "\n".join(ast.unparse(node) for node in sorted(nodes, key=lambda node: node.lineno))


def figure_text(source: str) -> tuple[str, str]:
    """The alternative text of a cell's figures, "" if it has none, and the code without it."""
    lines = source.splitlines()
    count = next((i for i, line in enumerate(lines) if not line.startswith("# |")), len(lines))
    text = " ".join(line.removeprefix("# |").strip() for line in lines[:count])
    return text.removeprefix("fig-alt:").strip(), "\n".join(lines[count:])


def _execute(
    client: NotebookClient, cell: Any, index: int, script: Path, *, imports_only: bool
) -> None:
    """Execute one cell, or its imports; an error names the cell."""
    executed = new_code_cell(import_statements(cell.source)) if imports_only else cell
    try:
        if executed.source:
            client.execute_cell(executed, index)
    except CellExecutionError as error:
        number = sum(c.cell_type == "code" for c in client.nb.cells[1 : index + 1])
        raise SystemExit(
            f"{error.traceback}\ndocs: {script}, code cell {number}, which starts with "
            f"`{cell.source.splitlines()[0]}`: {error.ename}: {error.evalue}"
        ) from None


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
