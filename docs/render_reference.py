"""Write the reference: a page for each package, and one for each public class and function.

    python docs/render_reference.py

`docs/reference/PACKAGE.md` lists the public names of a package, each with its first sentence. A
name is public if its package exports it. The page of a class also has what the class inherits:
members of public base classes as a list with links, members of internal ones in full.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import shutil
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

PAGES = Path(__file__).resolve().parent / "reference"
PACKAGES = {
    "spec": "Specs",
    "batch": "Batches and masks",
    "data": "Data",
    "core": "Base module",
    "models": "Models",
    "nn": "Layers",
    "decoding": "Decoding",
    "metrics": "Metrics",
    "span_metrics": "Metrics of spans",
    "introspect": "Introspection",
    "callbacks": "Callbacks",
    "comparison": "Comparison",
    "instrumentation": "Instrumentation",
    "export": "Exports",
    "testing": "Testing",
}
ALSO = {"export": ("seqlearn.core.exporting.register_format",)}
"""Public names that are imported from a module of their own."""

INTERNAL = {
    "seqlearn.batch.hide_rows",
    "seqlearn.instrumentation.add_kind",
    "seqlearn.instrumentation.report_answers",
    "seqlearn.nn.FUSED_LAYERS",
    "seqlearn.nn.shares_memory",
}
"""Names that packages export for other packages of seqlearn, not for users."""

SEARCH = "---\nsearch:\n  boost: 0.2\n---\n\n"
"""Guides come before the reference among the results of a search."""

FIRST = "0.1"
SINCE: dict[str, str] = {}
"""The version in which a name was added, by its path, if it is not the first one."""


class Name(NamedTuple):
    """A public name: the path from which users import it, and what it is."""

    path: str
    value: object

    @property
    def has_page(self) -> bool:
        """Whether it is a class or a function; other names are on the page of their package.

        An alias of what another package defines, such as `Any`, is one of the others.
        """
        is_own = getattr(self.value, "__module__", "").startswith("seqlearn.")
        return is_own and (inspect.isclass(self.value) or inspect.isroutine(self.value))


def main(folder: Path = PAGES) -> None:
    """Write all pages, and remove those that were written before."""
    names = folder / "names"
    shutil.rmtree(names, ignore_errors=True)
    names.mkdir(parents=True)
    public = {package: public_names(package) for package in PACKAGES}
    paths: dict[int, str] = {}
    for name in (name for each in public.values() for name in each):
        paths.setdefault(id(name.value), name.path)
    for package, title in PACKAGES.items():
        own = [name for name in public[package] if paths[id(name.value)] == name.path]
        page = package_page(title, importlib.import_module(f"seqlearn.{package}"), own)
        (folder / f"{package}.md").write_text(SEARCH + page, encoding="utf-8")
        for name in own:
            if name.has_page:
                file = names / f"{name.path.removeprefix('seqlearn.')}.md"
                back = f"Part of [{title}](../{package}.md).\n\n"
                file.write_text(SEARCH + back + name_page(name, paths), encoding="utf-8")


def public_names(package: str) -> list[Name]:
    """What a package exports; modules only if they are in its `__all__`."""
    module = importlib.import_module(f"seqlearn.{package}")
    start = "seqlearn." if hasattr(module, "__path__") else module.__name__
    listed = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", module.__name__).startswith(start)
    ]
    paths = [f"{module.__name__}.{name}" for name in listed]
    paths = [path for path in (*paths, *ALSO.get(package, ())) if path not in INTERNAL]
    return [Name(path, pkgutil.resolve_name(path)) for path in paths]


def package_page(title: str, module: ModuleType, names: list[Name]) -> str:
    """The page of a package."""
    parts = [f"# {title} {{#{module.__name__}}}", f"`import {module.__name__}`"]
    parts.append(inspect.getdoc(module) or "")
    groups = {"Classes": inspect.isclass, "Functions": inspect.isroutine}
    for heading, belongs in groups.items():
        rows = [
            row(name.path.rpartition(".")[2], name.path, name.value)
            for name in names
            if name.has_page and belongs(name.value)
        ]
        if rows:
            parts += [f"## {heading}", table(rows)]
    others = [name for name in names if not name.has_page]
    if others:
        parts.append("## Other names")
        parts += [f"::: {name.path}\n    options:\n      heading_level: 3" for name in others]
    return "\n\n".join(parts) + "\n"


def name_page(name: Name, paths: dict[int, str]) -> str:
    """The page of a class or a function."""
    options = ["heading_level: 1"]
    links: dict[str, dict[str, str]] = {}
    if inspect.isclass(name.value):
        members = inherited(name.value, paths)
        if own := sorted(member for member, base in members.items() if base is None):
            options.append(f"inherited_members: [{', '.join(own)}]")
        for member, base in members.items():
            if base is not None:
                value = inspect.getattr_static(name.value, member)
                links.setdefault(base, {})[member] = row(member, f"{base}.{member}", value)
    parts = [f"::: {name.path}\n    options:\n      " + "\n      ".join(options)]
    for base, rows in links.items():
        heading = f"Inherited from [`{base.rpartition('.')[2]}`][{base}]"
        parts += [f"## {heading}", table([rows[member] for member in sorted(rows)])]
    if link := source_link(name.value):
        parts.append(link)
    parts.append(f"New in version {SINCE.get(name.path, FIRST)}.")
    return "\n\n".join(parts) + "\n"


def source_link(value: object) -> str:
    """A link to the source in the repository; empty without `REPO_URL`."""
    repository = os.environ.get("REPO_URL", "").rstrip("/")
    if not repository:
        return ""
    lines, first = inspect.getsourcelines(inspect.unwrap(value))
    file = Path(inspect.getsourcefile(inspect.unwrap(value))).relative_to(PAGES.parent.parent)
    address = f"{repository}/blob/main/{file.as_posix()}#L{first}-L{first + len(lines) - 1}"
    return f"[Source in the repository]({address})"


def inherited(cls: type, paths: dict[int, str]) -> dict[str, str | None]:
    """The public members that a class inherits within this package.

    Args:
        cls: The class.
        paths: The path of each public class, by its id.

    Returns:
        For each member, the public base class whose page documents it, or `None` if there is none.
    """
    found: dict[str, str | None] = {}
    own = {
        member
        for member, value in vars(cls).items()
        if getattr(value, "__qualname__", cls.__qualname__).startswith(cls.__qualname__)
    }  # not wrapped methods of a base class
    for owner in cls.__mro__[1:]:
        if not owner.__module__.startswith("seqlearn."):
            continue
        public = [paths[id(b)] for b in cls.__mro__[1:] if id(b) in paths and issubclass(b, owner)]
        documented = public[-1] if public else None  # the others only list it, as `cls` does
        for member, value in vars(owner).items():
            is_member = inspect.isroutine(value) or isinstance(value, property | classmethod)
            if is_member and not member.startswith("_") and member not in own:
                found.setdefault(member, documented)
    return found


def row(title: str, path: str, value: object) -> str:
    """A row of a table: a name that leads to its documentation, and its first sentence."""
    text = " ".join((inspect.getdoc(value) or "").partition("\n\n")[0].split())
    return f"| [`{title}`][{path}] | {text.replace('|', chr(92) + '|')} |"


def table(rows: list[str]) -> str:
    """A table of names."""
    return "\n".join(["| name | description |", "|---|---|", *rows])


if __name__ == "__main__":
    main()
