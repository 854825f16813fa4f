"""Text files for language modelling, read in contiguous lanes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from seqlearn.batch import SequenceBatch
from seqlearn.data.batching import Planned
from seqlearn.data.fields import Text
from seqlearn.data.lanes import LaneDataset, plan_lanes
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
        val: The validation split, if there is one. A number is a share of `train`: of all its
            characters (code points, the files one after the other), the last `round(share · all)`
            are left out of training and kept for validation. A file that is cut becomes two texts.
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
        return ((None, text) for _, text in self._texts(split))

    def fingerprint(self) -> str:
        """The digests of the files, and how they are read."""
        digest = hashlib.sha256(repr((self.encoding, self.val_share)).encode())
        for split, paths in self._files.items():
            digest.update(f"\n{split} {[digest_file(split, path) for path in paths]}".encode())
        return digest.hexdigest()

    def locate(self, split: Split, row: int) -> str:
        """The file."""
        return str(next(islice(self._texts(split), row, None))[0])

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

    def _plan(self, split: Split, *, world_size: int, shuffle: bool, in_order: bool) -> Planned:
        ids = len(self.dataset(split).target_ids)
        try:
            return plan_lanes(ids, self.window, self.batch_tokens, world_size=world_size)
        except ValueError as error:
            raise ValueError(f"{split}: {error}") from error

    def _sliced(self, split: Split) -> LaneDataset:
        return LaneDataset(self.dataset(split))

    def _order(self) -> dict[str, int]:
        return super()._order() | {"window": self.window}

    def _texts(self, split: Split) -> Iterator[tuple[Path, str]]:
        """Each file of a split, and what of it belongs there."""
        if self.val_share is None or split == "test":
            for path in self._files[split]:
                yield path, read_text(split, path, self.encoding)
            return
        paths = self._files["train"]
        texts = [read_text("train", path, self.encoding) for path in paths]
        total = sum(map(len, texts))
        kept = round(total * self.val_share)
        if texts and not 0 < kept < total:
            raise ValueError(
                f"val={self.val_share} of {total} characters in train is {kept}, and both splits "
                "need some; take another share, or give val files of its own"
            )
        left = total - kept
        for path, text in zip(paths, texts, strict=True):
            cut = min(left, len(text))
            left -= cut
            part = text[:cut] if split == "train" else text[cut:]
            if part:
                yield path, part


def _paths(files: Any) -> list[Path]:
    if files is None:
        return []
    return [Path(files)] if isinstance(files, str | Path) else [Path(one) for one in files]
