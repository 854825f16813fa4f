"""Write a tutorial as a notebook, for the download beside its page and for Google Colab.

The addresses come from the environment, as in `mkdocs.yml`: `REPO_URL`, `SITE_URL`, and
`DOCS_VERSION`, the folder of this version on the branch `gh-pages`. Without `REPO_URL` there is no
link to Colab, which reads notebooks from GitHub.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

import jupytext
import nbformat
from citations import linked
from nbformat.v4 import new_code_cell

BRANCH = "gh-pages"
INSTALLATION = """# Install seqlearn where it is missing, such as on Google Colab.
import importlib.util

if importlib.util.find_spec("seqlearn") is None:
    %pip install --quiet "seqlearn[testing] @ git+{}"
"""
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)([^)#\s]+)\.md(#[^)\s]*)?\)")


def write_notebook(script: Path, path: Path) -> None:
    """Write a py:percent file as a notebook, without outputs.

    A link to another page becomes a link to the site, or its text if the site has no address.
    """
    notebook = jupytext.reads(script.read_text(encoding="utf-8"), fmt="py:percent")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(_on_the_site, cell.source)
    if repository := os.environ.get("REPO_URL"):
        notebook.cells.insert(1, new_code_cell(INSTALLATION.format(repository.rstrip("/"))))
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # otherwise random
        cell.metadata = {}
    nbformat.validate(notebook)
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _on_the_site(link: re.Match[str]) -> str:
    text, page, place = link.groups()
    site = os.environ.get("SITE_URL", "")
    version = os.environ.get("DOCS_VERSION", "")
    if not site:
        return text
    base = f"{site.rstrip('/')}/{version}".rstrip("/")
    path = os.path.normpath(f"tutorials/{page}").replace(os.sep, "/")
    return f"[{text}]({base}/{path}/{place or ''})"


def with_links(page: str, name: str) -> str:
    """The page of a tutorial, with links to its notebook below the title, and of its citations."""
    links = [f"[Download as a notebook]({name}.ipynb){{ .notebook download={name}.ipynb }}"]
    if address := colab(name):
        links.append(f"[Open in Colab]({address}){{ .notebook }}")
    title, _, rest = page.partition("\n")
    cited = linked(rest, "[{}](../bibliography.md#{})".format, each=False)
    return f"{title}\n\n{' '.join(links)}\n{cited}"


def colab(name: str) -> str | None:
    """The address that opens a notebook in Colab; `None` without a repository on GitHub."""
    parts = urlsplit(os.environ.get("REPO_URL", ""))
    if parts.netloc != "github.com":
        return None
    folder = "/".join(filter(None, [os.environ.get("DOCS_VERSION"), "tutorials"]))
    repository = parts.path.strip("/").removesuffix(".git")
    return (
        f"https://colab.research.google.com/github/{repository}/blob/{BRANCH}/{folder}/{name}.ipynb"
    )
