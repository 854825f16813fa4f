"""Optional packages of the extra `export`, imported when a format needs them."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any


def require(package: str) -> Any:
    """Import a package of the extra `export`.

    Args:
        package: The name under which it is imported.

    Raises:
        ModuleNotFoundError: If it is not installed; the message names the extra.

    Examples:
        >>> require("json").dumps({})
        '{}'
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"this format needs {error.name}, which is not installed; "
            "in a clone of seqlearn: pip install -c constraints.txt '.[export]'",
            name=error.name,
        ) from error


def is_installed(package: str) -> bool:
    """Whether a package can be imported; it is not imported.

    Examples:
        >>> is_installed("json"), is_installed("no_such_package")
        (True, False)
    """
    return importlib.util.find_spec(package) is not None
