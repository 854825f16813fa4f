"""The parser of commands that are not those of `LightningCLI`."""

from __future__ import annotations

import argparse
from typing import NoReturn


class ArgumentParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that raises its errors; `main` prints them in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise an `argparse.ArgumentError`."""
        raise argparse.ArgumentError(None, message)
