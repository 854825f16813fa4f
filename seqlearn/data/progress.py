"""Progress bars of preparation, on a terminal only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


class Progress:
    """Shows how far reading has come, once it takes more than a second.

    After a first pass over the same data the number of items is known.

    Examples:
        >>> progress = Progress()
        >>> list(progress.over("ab", "letters", "counting"))
        ['a', 'b']
        >>> progress.total("letters")
        2
    """

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}

    def total(self, name: str) -> int | None:
        """The number of items of a name, after a whole pass over them."""
        return self._totals.get(name)

    def over(self, items: Iterable[Item], name: str, task: str) -> Iterator[Item]:
        """The items, with a bar on standard error if that is a terminal.

        Args:
            items: What to iterate over.
            name: Names the items; each pass over the same ones has the same name.
            task: What is done with them.
        """
        count = 0
        bar = tqdm(
            items,
            desc=f"{task} {name}",
            total=self.total(name),
            unit=" examples",
            unit_scale=True,
            delay=1.0,
            disable=None,  # unless on a terminal
            leave=False,
        )
        for item in bar:
            count += 1
            yield item
        self._totals[name] = count
