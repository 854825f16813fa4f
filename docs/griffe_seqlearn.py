"""What the reference changes in what it reads: exported names, and citations."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import griffe

LINKED = runpy.run_path(str(Path(__file__).with_name("citations.py")))["linked"]


class OwnMembers(griffe.Extension):
    """Treats names that a package imports and lists in `__all__` as plain imports.

    So a name is documented where it is defined, and not a second time in its package.
    """

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Clear `__all__` of the package and its subpackages."""
        modules = [pkg]
        while modules:
            module = modules.pop()
            module.exports = None
            modules += [m for m in module.modules.values() if not m.is_alias]


class Citations(griffe.Extension):
    """Links each citation in a docstring to its entry of the bibliography."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object of this package."""
        if obj.docstring is not None and obj.path.partition(".")[0] == "seqlearn":
            obj.docstring.value = LINKED(obj.docstring.value, "[{}][{}]".format)
