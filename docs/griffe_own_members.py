"""Show what a package exports where it is written, and not in the package's own section too."""

from __future__ import annotations

from typing import Any

import griffe


class OwnMembers(griffe.Extension):
    """Lets the names that a package imports and lists in `__all__` count as imports alone."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Forget the lists."""
        modules = [pkg]
        while modules:
            module = modules.pop()
            module.exports = None
            modules += [m for m in module.modules.values() if not m.is_alias]
