"""Models of other libraries with the sizes of `Size`, as functions from a batch to its loss."""

from __future__ import annotations

import importlib
from typing import Any

MODULES = {
    "transformers": (
        "transformers.models.marian.modeling_marian",
        "transformers.models.gpt2.modeling_gpt2",
        "transformers.generation.utils",
    ),
    "x-transformers": ("x_transformers",),
    "joeynmt": ("joeynmt.model", "joeynmt.search", "joeynmt.vocabulary"),
    "OpenNMT-py": ("onmt.encoders", "onmt.decoders"),
}
"""What contenders import of each distribution."""


class UnavailableError(Exception):
    """A contender cannot run here; the message is the reason."""


def peer(module: str) -> Any:
    """Import a module of another library.

    Raises:
        UnavailableError: If it is not installed or its import fails, with the reason.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # an import of a foreign library may raise anything
        raise UnavailableError(f"{type(error).__name__}: {error}") from error
