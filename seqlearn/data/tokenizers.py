"""Tokenizers, trained on the training split only, as the JSON of Hugging Face `tokenizers`.

In every vocabulary the ids 0 to 3 are padding, unknown, start and end. They are not matched in
texts: the string `<s>` in a text is encoded like any other text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from seqlearn.batch import SPECIAL_TOKENS, UNKNOWN
from seqlearn.data.foreign_tokenizers import reserve_ids
from seqlearn.data.sentencepiece_models import read_sentencepiece
from seqlearn.data.whole_tokens import (
    CharacterEncoder,
    WholeTokenEncoder,
    WordEncoder,
    count_characters,
    count_words,
    make_vocabulary,
)
from seqlearn.spec import TextSpec

TRAINED = ("char", "word", "bpe")
"""The tokenizers that are trained on the training split; any other name is a path."""

_BPE_VOCAB_SIZE = 8000
_ROLES = {  # names that a tokenizer file may use for the four reserved ids
    "padding": ("pad",),
    "unknown": ("unk", "unknown"),
    "start": ("s", "bos", "sos", "start", "cls"),
    "end": ("/s", "eos", "end", "sep"),
}


@runtime_checkable
class TokenizerOptions(Protocol):
    """The attributes of a field `Text` on which a tokenizer depends."""

    @property
    def tokenizer(self) -> str:
        """`"char"`, `"word"` or `"bpe"`."""

    @property
    def vocab_size(self) -> int | None:
        """The number of ids, if it is set."""

    @property
    def lowercase(self) -> bool:
        """Whether texts are lower-cased."""


def train_tokenizer(field: TokenizerOptions, texts: Iterable[str]) -> str:
    """Train the tokenizer of a field on the texts of the training split.

    Training is deterministic. Decoding an encoded text returns it: exactly for `"char"` over the
    characters of the training split and for `"bpe"` over all of Unicode; for `"word"` over the
    words of the training split up to whitespace. With `lowercase` the case is lost.

    Args:
        field: The field; `field.tokenizer` must be `"char"`, `"word"` or `"bpe"`.
        texts: The training texts of this side (of both sides for a joint vocabulary).

    Returns:
        The tokenizer's JSON, without truncation, padding and post-processing.

    Raises:
        ValueError: If there are no tokens, or if `field.vocab_size` is larger than the data
            supports or smaller than the tokenizer needs; the message gives the possible size.

    Source: `"bpe"` is Sennrich et al. 2016, algorithm 1, over bytes as in Radford et al. 2019,
    section 2.2.
    """
    tokenizer = {"char": _characters, "word": _words, "bpe": _byte_pairs}[field.tokenizer]()
    if field.lowercase:
        steps = [tokenizer.normalizer] if tokenizer.normalizer else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])
    if field.tokenizer == "bpe":
        tokenizer.train_from_iterator(texts, _byte_pair_trainer(field.vocab_size))
    else:
        if field.lowercase:
            texts = map(tokenizer.normalizer.normalize_str, texts)
        if field.tokenizer == "char":
            counts = count_characters(texts)
        else:
            counts = Counter({f" {word}": n for word, n in count_words(texts).items()})
        vocabulary = make_vocabulary(counts, field.vocab_size)
        tokenizer.model = models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS[UNKNOWN])
    size = tokenizer.get_vocab_size()
    if size <= len(SPECIAL_TOKENS):
        raise ValueError(
            "expected at least one token in the texts of the training split, got none; "
            "every text there is empty"
        )
    if field.vocab_size is not None and size != field.vocab_size:
        limit = "supports no more than" if size < field.vocab_size else "needs at least"
        raise ValueError(
            f"the training split {limit} {size} tokens for tokenizer={field.tokenizer!r}, got "
            f"vocab_size={field.vocab_size}; set vocab_size={size}, or remove it"
        )
    return _plain(tokenizer)


def load_tokenizer(path: str | Path) -> str:
    """Read a `tokenizer.json` or a SentencePiece `.model` file.

    If ids 0 to 3 are not padding, unknown, start and end, ids are remapped: see
    `foreign_tokenizers` and `sentencepiece_models`.

    Args:
        path: The file.

    Returns:
        The tokenizer's JSON, without truncation, padding and post-processing.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a tokenizer, or one that is not supported.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            "expected tokenizer='char', 'word', 'bpe' or the path of a tokenizer.json or of a "
            f"SentencePiece model, got {str(path)!r}, which is not a file"
        )
    content = Path(path).read_bytes()
    if not content.lstrip().startswith(b"{"):
        try:
            return _plain(read_sentencepiece(content))
        except ValueError as error:
            raise ValueError(
                f"{path}: expected the JSON of a Hugging Face tokenizer, or a SentencePiece model "
                f"({error})"
            ) from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises no more specific class
        raise ValueError(
            f"{path}: expected the JSON of a Hugging Face tokenizer ({error})"
        ) from error
    found = [tokenizer.id_to_token(number) for number in range(len(_ROLES))]
    for token, names in zip(found, _ROLES.values(), strict=True):
        if token is None or token.strip("<>[]|").lower() not in names:
            return _foreign(tokenizer, path)
    if isinstance(tokenizer.model, models.BPE) and tokenizer.model.unk_token is None:
        tokenizer.model.unk_token = found[UNKNOWN]  # else unknown characters disappear
    return _plain(tokenizer)


def _foreign(tokenizer: Tokenizer, path: str | Path) -> str:
    """The JSON of a pretrained tokenizer with remapped ids."""
    try:
        settings = reserve_ids(json.loads(tokenizer.to_str()))
        changed = Tokenizer.from_str(json.dumps(settings))
    except Exception as error:
        raise ValueError(
            f"{path}: cannot make ids 0 to 3 {', '.join(_ROLES)} (such as "
            f"{', '.join(SPECIAL_TOKENS)}) in this tokenizer: {error}; train it with these four "
            "first"
        ) from error
    return _plain(changed)


def text_spec(tokenizer: str) -> TextSpec:
    """The spec of a side with this tokenizer (its JSON), before any text is encoded."""
    ids = Tokenizer.from_str(tokenizer).get_vocab(with_added_tokens=True).values()
    return TextSpec(vocab_size=max(ids) + 1, max_length=0, tokenizer=tokenizer)


def whole_token_encoder(tokenizer: Tokenizer) -> WholeTokenEncoder | None:
    """A fast encoder with the same results, if the tokenizer is one of `"char"` or `"word"`."""
    splitter = tokenizer.pre_tokenizer
    if not isinstance(tokenizer.model, models.WordLevel) or splitter is None:
        return None
    for build, encoder in ((_characters, CharacterEncoder), (_words, WordEncoder)):
        if _plain_parts(tokenizer) == _plain_parts(build()):
            return encoder(tokenizer)
    return None


def _plain_parts(tokenizer: Tokenizer) -> Any:
    """Everything that decides how a tokenizer splits texts."""
    settings = json.loads(tokenizer.to_str())
    return [settings[name] for name in ("pre_tokenizer", "post_processor", "added_tokens")]


def _characters() -> Tokenizer:
    """One token per code point; reserved tokens have more, so they never match."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=SPECIAL_TOKENS[UNKNOWN]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def _words() -> Tokenizer:
    """One token per word, stored with a leading space so that it never equals a reserved token."""
    unknown = SPECIAL_TOKENS[UNKNOWN]
    tokenizer = Tokenizer(models.WordLevel(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement=" ", prepend_scheme="always", split=False),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(Regex(rf"\A{unknown}\z"), f" {unknown}"),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def _byte_pairs() -> Tokenizer:
    """Byte-level BPE.

    Every text gets a leading space, which the decoder removes, so that its first word is split like
    any other. The pre-tokenizer splits between letters and punctuation, so no merge can produce a
    reserved token.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    return tokenizer


def _byte_pair_trainer(vocab_size: int | None) -> Any:
    """Trainer of the merges, on all cores."""
    return trainers.BpeTrainer(
        vocab_size=vocab_size or _BPE_VOCAB_SIZE,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )


def _plain(tokenizer: Tokenizer) -> str:
    """The JSON without settings that change ids implicitly.

    These are truncation, padding, templates, and reserved tokens that are matched in texts although
    the model's vocabulary has them.
    """
    settings = json.loads(tokenizer.to_str())
    vocabulary = settings["model"].get("vocab", {})
    settings["added_tokens"] = [
        token
        for token in settings["added_tokens"]
        if token["id"] >= len(SPECIAL_TOKENS) or token["content"] not in vocabulary
    ]
    settings.update(truncation=None, padding=None, post_processor=None)
    return json.dumps(settings, ensure_ascii=False)
