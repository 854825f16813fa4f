"""Document an exported name where it is defined, and not a second time in its package."""

from __future__ import annotations

from typing import Any

import griffe


class OwnMembers(griffe.Extension):
    """Treats names that a package imports and lists in `__all__` as plain imports."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Clear `__all__` of the package and its subpackages."""
        modules = [pkg]
        while modules:
            module = modules.pop()
            module.exports = None
            modules += [m for m in module.modules.values() if not m.is_alias]
