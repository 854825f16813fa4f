"""Text files for language modelling, read in contiguous lanes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from seqlearn.batch import SequenceBatch
from seqlearn.data.fields import Text
from seqlearn.data.lanes import LaneDataset, LanePlan, plan_lanes
from seqlearn.data.module import SequenceDataModule, Split
from seqlearn.data.text_files import codec_name, digest_file, read_text
from seqlearn.spec import SequenceSpec, TextSpec

Files = str | Path | Sequence[str | Path]
"""One file, or several in this order."""

_CHARS = Text("char")


class PlainText(SequenceDataModule):
    """Text files, for language models ("nothing-to-sequence").

    Each file (plain or `.gz`) is one text, with everything that is in it; it stands as start … end.
    The texts of a split follow one another in a circle, which is cut into
    `batch_tokens // window` lanes on each process (fewer, if the text is too short for so many).
    Every batch holds the next window of each lane, so a recurrent model carries its state on
    (`SequenceBatch.continues`). Every token is predicted once in an epoch, in training from another
    starting point in each epoch. How many lanes a split is cut into depends on the number of
    processes, and so do, a little, the figures of validation.

    Args:
        train: The training split.
        val: The validation split, if there is one. A number is the share of the characters of the
            training split, at its end, that is kept for validation and left out of training.
        test: The test split, if there is one.
        text: How texts are cut into tokens.
        window: Tokens that each row of a batch predicts, and over which gradients flow.
        encoding: Of the files; a mark at the start of UTF-8 is left out.
        batch_tokens: Tokens that a batch predicts, on each process.
        seed: Decides, with the epoch, where the lanes start.
        num_workers: Processes that slice batches.

    Raises:
        ValueError: If an argument makes no sense. Bad data is found when the data is prepared, and
            named by file and line: a `ValueError`, or a `FileNotFoundError` for a missing file. A
            window longer than the text is found when batches are planned.

    Example::

        data = PlainText("shakespeare.txt", val=0.1, window=64, batch_tokens=768)
    """

    def __init__(
        self,
        train: Files,
        val: float | Files | None = None,
        test: Files | None = None,
        text: Text = _CHARS,
        *,
        window: int = 64,
        encoding: str = "utf-8",
        batch_tokens: int = 4096,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__(None, text, batch_tokens=batch_tokens, seed=seed, num_workers=num_workers)
        if not 1 <= window <= batch_tokens:
            raise ValueError(
                f"expected a window of at least 1 token and at most batch_tokens={batch_tokens}, "
                f"got {window}"
            )
        self.val_share = float(val) if isinstance(val, int | float) else None
        if self.val_share is not None and not 0 < self.val_share < 1:
            raise ValueError(
                f"val: expected files, or a share of train above 0 and below 1, got {val}"
            )
        self.window = window
        self.encoding = codec_name(encoding)
        own = None if isinstance(val, int | float) else val
        self._files: dict[Split, list[Path]] = {
            "train": _paths(train),
            "val": _paths(own),
            "test": _paths(test),
        }

    def examples(self, split: Split) -> Iterator[tuple[None, str]]:
        """The texts of a split, one a file."""
        if self.val_share is None or split == "test":
            return ((None, self._read(split, path)) for path in self._files[split])
        return ((None, text) for text in self._shared(split) if text)

    def fingerprint(self) -> str:
        """The digests of the files, and how they are read."""
        digest = hashlib.sha256(repr((self.encoding, self.val_share)).encode())
        for split, paths in self._files.items():
            digest.update(f"\n{split} {[digest_file(split, path) for path in paths]}".encode())
        return digest.hexdigest()

    def locate(self, split: Split, row: int) -> str:
        """The file."""
        files = self._files["train" if self.val_share is not None and split == "val" else split]
        return str(files[row]) if row < len(files) else super().locate(split, row)

    @property
    def spec(self) -> SequenceSpec:
        """Nothing to text. The longest text that a model sees at once is a window."""
        spec = super().spec
        assert isinstance(spec.target, TextSpec)
        return replace(spec, target=replace(spec.target, max_length=self.window))

    def predict_dataloader(self) -> DataLoader[SequenceBatch]:
        """There is nothing to answer.

        Raises:
            ValueError: Always; the message says what to use instead.
        """
        raise ValueError(
            "PlainText has no sources to answer; use model.generate(prompts=[...]) to go on with "
            "the beginnings of texts"
        )

    def _plan(self, split: Split, *, world_size: int, shuffle: bool, in_order: bool) -> LanePlan:
        ids = len(self.dataset(split).target_ids)
        try:
            return plan_lanes(ids, self.window, self.batch_tokens, world_size=world_size)
        except ValueError as error:
            raise ValueError(f"{split}: {error}") from error

    def _sliced(self, split: Split) -> LaneDataset:
        return LaneDataset(self.dataset(split))

    def _order(self) -> dict[str, int]:
        return super()._order() | {"window": self.window}

    def _read(self, split: Split, path: Path) -> str:
        return read_text(split, path, self.encoding)

    def _shared(self, split: Split) -> Iterator[str]:
        """The part of each training text that is in this split: the last characters are val's."""
        assert self.val_share is not None
        texts = [self._read("train", path) for path in self._files["train"]]
        total = sum(map(len, texts))
        left = total - round(total * self.val_share)
        for text in texts:
            cut = min(left, len(text))
            left -= cut
            yield text[:cut] if split == "train" else text[cut:]


def _paths(files: Any) -> list[Path]:
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | Path) else [Path(one) for one in files]
