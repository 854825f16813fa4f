"""Multi30k: captions of 31,014 images in English, German and French."""

from __future__ import annotations

from pathlib import Path

from seqlearn.data.cache import cache_root
from seqlearn.data.fields import Text
from seqlearn.data.module import Split
from seqlearn.data.sources.download import download
from seqlearn.data.sources.text_pairs import TextPairs

BASE_URL = (
    "https://raw.githubusercontent.com/multi30k/dataset/"
    "2cc0f2d7c615b60e07e2d51bb5edc004444d7e0e/data/task1/raw"
)
"""The folder that holds the files, at one commit of the data set's repository."""

SHA256 = {
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "train.fr.gz": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    "test_2016_flickr.fr.gz": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
}
"""The SHA-256 of each compressed file."""

_LANGUAGES = ("en", "de", "fr")
_FILES: dict[Split, str] = {"train": "train", "val": "val", "test": "test_2016_flickr"}
_BPE_SOURCE, _BPE_TARGET = Text("bpe"), Text("bpe")


class Multi30k(TextPairs):
    """Image captions and their translations: 29,000 for training, 1,014 and 1,000 held out.

    The raw sentences of task 1 (cased, not tokenized); the test split is `test_2016_flickr`.
    Without `root`, the necessary files (1.3 MB for a pair of languages) are downloaded when the
    data is prepared, verified by SHA-256, and stored in the folder `multi30k` of the cache
    (`SEQLEARN_CACHE`, or `~/.cache/seqlearn`).

    Source: Elliott, Frank, Sima'an and Specia 2016, "Multi30K: Multilingual English-German Image
    Descriptions"; French from Elliott, Frank, Barrault, Bougares and Specia 2017. Licence:
    CC BY-NC-SA 4.0, so not for commercial use.

    Args:
        root: A folder that has the files, directly or in a subfolder: `train.en.gz`, `val.en.gz`,
            `test_2016_flickr.en.gz` and so on, or the same without `.gz`. Their digests are not
            verified. `None` downloads.
        languages: Source and target, two of `"en"`, `"de"`, `"fr"`.
        source: The tokenizer of source texts.
        target: The tokenizer of target texts if `joint=False`.
        joint: One joint vocabulary with the settings of `source`.
        base_url: The URL of the folder from which files are downloaded.
        batch_tokens: Budget of a batch, see `SequenceDataModule`.
        seed: Determines the order of training.
        num_workers: Number of worker processes that slice batches.

    Raises:
        ValueError: If `languages` are not two of the three, or the arguments contradict each
            other. When the data is prepared: if a downloaded file has another digest.
        FileNotFoundError: If files are missing in `root`; the message names them.
        ConnectionError: When the data is prepared: if a file cannot be downloaded.

    Examples:
        >>> data = Multi30k(languages=("de", "en"))
        >>> next(iter(data.examples("test")))  # doctest: +SKIP
        ('Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt.',
         'A man in an orange hat starring at something.')
    """

    def __init__(
        self,
        root: str | None = None,
        languages: tuple[str, str] = ("en", "de"),
        source: Text = _BPE_SOURCE,
        target: Text = _BPE_TARGET,
        *,
        joint: bool = True,
        base_url: str = BASE_URL,
        batch_tokens: int | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        languages = _pair(languages)
        names = [f"{file}.{language}" for file in _FILES.values() for language in languages]
        if root is None:
            self._downloads = {cache_root() / "multi30k" / f"{one}.gz" for one in names}
            found = {path.stem: path for path in self._downloads}
        else:
            self._downloads = set()
            found = _find(Path(root), names)
        self._base_url = base_url.rstrip("/")
        train, val, test = (
            (found[f"{file}.{languages[0]}"], found[f"{file}.{languages[1]}"])
            for file in _FILES.values()
        )
        super().__init__(
            train,
            val,
            test,
            source,
            target,
            joint=joint,
            batch_tokens=batch_tokens,
            seed=seed,
            num_workers=num_workers,
        )

    def fetch_files(self) -> None:
        """Download missing files."""
        for path in sorted(self._downloads):
            download(f"{self._base_url}/{path.name}", path, SHA256[path.name])


def _pair(languages: tuple[str, str]) -> tuple[str, str]:
    if len(set(languages)) != 2 or len(languages) != 2 or not set(languages) <= set(_LANGUAGES):
        raise ValueError(
            f"expected languages=(source, target), two of {', '.join(_LANGUAGES)}, got {languages}"
        )
    return languages[0], languages[1]


def _find(root: Path, names: list[str]) -> dict[str, Path]:
    """Find all files in one folder, `root` or a subfolder, uncompressed or with `.gz`.

    Raises:
        FileNotFoundError: If no folder has all of them; the message names the missing files of the
            folder that has the most.
    """
    if not root.is_dir():
        raise FileNotFoundError(
            f"expected root to be a folder with the files of Multi30k, but {root} is not a folder; "
            "remove root to download them"
        )
    folders = sorted({path.parent for name in names for path in root.rglob(f"{name}*")} | {root})
    best: dict[str, Path] = {}
    nearest = root
    for folder in folders:
        both = [(name, folder / f"{name}{end}") for name in names for end in ("", ".gz")]
        found = {name: path for name, path in both if path.is_file()}
        if len(found) == len(names):
            return found
        if len(found) > len(best):
            best, nearest = found, folder
    missing = ", ".join(f"{name}.gz" for name in names if name not in best)
    raise FileNotFoundError(
        f"{nearest}: {missing} missing (also without .gz); add the files, or remove root to "
        "download them"
    )
