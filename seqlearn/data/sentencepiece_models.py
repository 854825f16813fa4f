"""Reading of SentencePiece models (`.model` files) without the sentencepiece package.

Source: Kudo and Richardson 2018, "SentencePiece"; the file is the protocol buffer `ModelProto` of
https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from seqlearn.batch import SPECIAL_TOKENS, UNKNOWN
from seqlearn.data.foreign_tokenizers import RESERVED

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
_KINDS = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
_SPACE = "▁"


class _Piece(NamedTuple):
    text: str
    score: float
    kind: int


def read_sentencepiece(content: bytes) -> Tokenizer:
    """Build the tokenizer of a SentencePiece model; ids 0 to 3 are padding, unknown, start, end.

    The segmentation is that of the sentencepiece package. Control symbols (`<s>`, `</s>`, `<pad>`)
    are omitted because they never match in a text; all other pieces follow from id 4.

    Args:
        content: The bytes of a `.model` file of type unigram or bpe.

    Raises:
        ValueError: If these are not the bytes of such a model.
    """
    try:
        pieces, trainer, normalizer = _parse(content)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise ValueError("the bytes are not a SentencePiece model") from error
    if not any(piece.kind == _UNKNOWN for piece in pieces):
        raise ValueError("the bytes are not a SentencePiece model: there is no unknown piece")
    kind = _KINDS.get(trainer.get(3, 1), "unknown")
    if kind not in ("unigram", "bpe"):
        raise ValueError(f"SentencePiece models of type {kind} are not supported")
    if trainer.get(24):
        raise ValueError("SentencePiece models with whitespace as a suffix are not supported")
    text = [piece for piece in pieces if piece.kind not in (_UNKNOWN, _CONTROL, _UNUSED)]
    tokenizer = Tokenizer(_unigram(text) if kind == "unigram" else _byte_pairs(text))
    tokenizer.normalizer = _normalizer(normalizer)
    prefix = normalizer.get(3, 1)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(RESERVED[UNKNOWN], SPECIAL_TOKENS[UNKNOWN]),
            decoders.Replace(_SPACE, " "),
            *([decoders.ByteFallback()] if any(p.kind == _BYTE for p in pieces) else []),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if prefix else []),
        ]
    )
    symbols = [piece.text for piece in text if piece.kind == _USER_DEFINED]
    if kind == "bpe" and symbols:
        pattern = "|".join(map(re.escape, sorted(symbols, key=len, reverse=True)))
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    return tokenizer


def _unigram(text: list[_Piece]) -> models.Unigram:
    """Build the unigram model; a user-defined symbol has a higher score than any other split."""
    normal = [piece.score for piece in text if piece.kind == _NORMAL] or [0.0]
    lowest, highest = min(normal), max(normal)
    scores = [(name, lowest) for name in RESERVED]
    for piece in text:
        extra = len(piece.text.encode()) * highest - 0.1
        never = lowest - 1000  # bytes encode unknown characters only; they never match a text
        score = {_USER_DEFINED: extra, _BYTE: never}.get(piece.kind, piece.score)
        scores.append((piece.text, score))
    return models.Unigram(scores, UNKNOWN, any(piece.kind == _BYTE for piece in text))


def _byte_pairs(text: list[_Piece]) -> models.BPE:
    """Build the byte-pair model; merges are ordered by score, the negative merge number."""
    ids = {name: number for number, name in enumerate((*RESERVED, *(p.text for p in text)))}
    known = {piece.text for piece in text if piece.kind == _NORMAL}
    merges = []
    for piece in sorted(text, key=lambda piece: -piece.score):
        if piece.kind == _NORMAL:
            cuts = range(1, len(piece.text))
            parts = ((piece.text[:cut], piece.text[cut:]) for cut in cuts)
            found = [pair for pair in parts if known.issuperset(pair)]
            merges += sorted(found, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    return models.BPE(
        vocab=ids,
        merges=merges,
        unk_token=RESERVED[UNKNOWN],
        fuse_unk=True,
        byte_fallback=any(piece.kind == _BYTE for piece in text),
        ignore_merges=any(piece.kind == _USER_DEFINED for piece in text),
    )


def _normalizer(settings: dict[int, Any]) -> normalizers.Normalizer:
    """Build the normalizer: character map, runs of spaces, leading space, and `▁` for spaces."""
    steps: list[Any] = []
    if settings.get(2):
        steps.append(normalizers.Precompiled(settings[2]))
    if settings.get(4, 1):
        steps.append(normalizers.Replace(Regex(rf"\A +|[ {_SPACE}]+\z"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    if settings.get(3, 1):
        steps.append(normalizers.Prepend(_SPACE))
    if settings.get(5, 1):
        steps.append(normalizers.Replace(" ", _SPACE))
    return normalizers.Sequence(steps)


def _parse(content: bytes) -> tuple[list[_Piece], dict[int, Any], dict[int, Any]]:
    """Parse pieces, and the settings of trainer and normalizer by field number."""
    pieces, settings = [], {2: b"", 3: b""}
    for field, value in _fields(content):
        if field == 1:
            piece = dict(_fields(value))
            score = struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0
            pieces.append(_Piece(piece[1].decode(), score, piece.get(3, _NORMAL)))
        elif field in settings:
            settings[field] = value
    return pieces, dict(_fields(settings[2])), dict(_fields(settings[3]))


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer: varints as numbers, all others as bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        field, wire = divmod(varint(), 8)
        if wire == 0:
            yield field, varint()
            continue
        if wire not in (1, 2, 5):
            raise TypeError(f"wire type {wire}")
        size = varint() if wire == 2 else {1: 8, 5: 4}[wire]
        if at + size > len(message):
            raise IndexError
        yield field, message[at : at + size]
        at += size
