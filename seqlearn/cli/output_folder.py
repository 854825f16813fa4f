"""The folder that a command writes its results to."""

from __future__ import annotations

import tempfile
from pathlib import Path


def require_writable(directory: Path, option: str) -> None:
    """Create a folder, and check that files can be written to it.

    Args:
        directory: The folder.
        option: The command-line option that selects another folder, for the error.

    Raises:
        OSError: If the folder cannot be created or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise OSError(
            f"the results cannot be written to {directory} ({error.strerror}); "
            f"choose another folder with {option}"
        ) from error
