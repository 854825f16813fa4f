"""`TextSpec`: text as source or target, with vocabulary, tokenizer and loss."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor, nn

from seqlearn.batch import (
    END,
    PAD,
    SPECIAL_TOKENS,
    START,
    UNKNOWN,
    SequenceBatch,
    length_mask,
    pad,
)
from seqlearn.metrics import TokenStatistics
from seqlearn.nn import linear_cross_entropy
from seqlearn.plain_data import convert_fields
from seqlearn.spec.base import GeneratedSpec, RowFormat, SourceSpec, TargetLoss
from seqlearn.spec.raw_inputs import (
    EncodedIds,
    check_list,
    check_no_special_ids,
    check_surrogates,
    to_ids,
    unknown_symbols,
    warn_unknown,
    written_ids,
)
from seqlearn.spec.words import (
    EncodedWords,
    Unit,
    first_pieces,
    join_units,
    unit_spans,
    words_of,
)


@functools.lru_cache(maxsize=16)
def _tokenizer(definition: str) -> Tokenizer:
    """Build a tokenizer from its JSON; equal definitions share one."""
    return Tokenizer.from_str(definition)


@dataclass(frozen=True)
class TextSpec(SourceSpec, GeneratedSpec):
    """The type of a source or target that is text.

    Attributes:
        vocab_size: Number of ids, including the four reserved ones.
        max_length: Tokens in the longest text of any split, without start and end.
        tokenizer: The JSON of a tokenizer of Hugging Face `tokenizers`; `None` for lists of ids
            instead of texts.
        unk_in_training: Whether the training split has tokens outside the vocabulary. If not, the
            unknown symbol is untrained: raw text that needs it is encoded with a warning, and no
            decoding strategy generates it.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If `vocab_size` is not above 4, the number of reserved ids.

    Examples:
        >>> TextSpec(vocab_size=9, max_length=5).decode([[2, 4, 6, 3, 0]])
        [[4, 6]]
    """

    kind: ClassVar[str] = "text"
    is_sequence: ClassVar[bool] = True
    methods: ClassVar[tuple[str, ...]] = ("generate", "score")

    vocab_size: int
    max_length: int
    tokenizer: str | None = None
    unk_in_training: bool = False

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.vocab_size <= len(SPECIAL_TOKENS):
            raise ValueError(
                f"expected a vocabulary of more than {len(SPECIAL_TOKENS)} ids (0 to 3 are "
                f"padding, unknown, start, end), got vocab_size={self.vocab_size}"
            )

    def __repr__(self) -> str:
        held = "None" if self.tokenizer is None else f"<{len(self.tokenizer)} characters of JSON>"
        return (
            f"TextSpec(vocab_size={self.vocab_size}, max_length={self.max_length}, "
            f"tokenizer={held}, unk_in_training={self.unk_in_training})"
        )

    def encode(self, texts: Iterable[Any], *, label: str = "input") -> list[list[int]]:
        """Turn raw texts into lists of ids, without start and end.

        A symbol outside the vocabulary becomes the unknown symbol. If that does not occur in
        training, an `UnknownSymbolWarning` gives the number of such texts, and names some.

        Args:
            texts: Strings, or lists (arrays, tensors) of ids that are checked and passed through.
            label: How error messages name one of the texts.

        Raises:
            TypeError: If `texts` is not a list of strings or of lists of integers.
            ValueError: If an id is outside the vocabulary, or is padding, start or end; if a text
                is a string and there is no tokenizer; or if it contains a lone surrogate.

        Examples:
            >>> TextSpec(vocab_size=9, max_length=5).encode([[4, 6], []])
            [[4, 6], []]
        """
        encoded, unknown = [], []
        for number, text in enumerate(check_list(texts, label), 1):
            where = f"{label} {number}"
            if isinstance(text, EncodedIds):
                encoded.append(list(text))
                continue
            if isinstance(text, str):
                encoding = self._encode_text(text, where)
                ids = list(encoding.ids)
                symbol = next(iter(unknown_symbols(encoding.ids, encoding.offsets, text)), "")
            else:
                ids = to_ids(text, self.vocab_size, where)
                symbol = f"the id {UNKNOWN}" if UNKNOWN in ids else ""
            encoded.append(ids)
            if symbol:
                unknown.append((where, symbol))
        if unknown and not self.unk_in_training:
            warn_unknown(unknown, len(encoded), label)
        return encoded

    def encode_words(
        self, sentences: Iterable[Any], *, label: str = "input", unit: Unit = "word"
    ) -> list[EncodedWords]:
        """Turn raw sentences into ids, with the position of the first piece of each word.

        Args:
            sentences: Texts, which are split at ASCII white space, or lists of words; or lists of
                ids, each of which is a word.
            label: How error messages name one of them.
            unit: `"character"`: each character counts as a word, white space too.

        Raises:
            TypeError: As `encode`.
            ValueError: As `encode`, and if a word is empty or contains white space, or an item of
                a list of characters is not one character.

        Examples:
            >>> TextSpec(vocab_size=9, max_length=5).encode_words([[4, 6]])[0].starts
            [0, 1]
        """
        listed = check_list(sentences, label)
        words = [words_of(each, f"{label} {number}", unit) for number, each in enumerate(listed, 1)]
        texts = [None if ws is None else join_units(ws, unit) for ws in words]
        pairs = list(zip(listed, texts, strict=True))
        ids = self.encode([each if text is None else text for each, text in pairs], label=label)
        starts = iter(self.word_starts([text for text in texts if text is not None], unit))
        return [
            EncodedWords(
                row, getattr(each, "starts", range(len(row))) if text is None else next(starts)
            )
            for row, (each, text) in zip(ids, pairs, strict=True)
        ]

    def word_starts(self, texts: Sequence[str], unit: Unit = "word") -> list[list[int]]:
        """The position of the first piece of each word of each text.

        Args:
            texts: Texts, whose words are separated by ASCII white space.
            unit: `"character"`: each character counts as a word, white space too.

        Raises:
            ValueError: If there is no tokenizer.
        """
        if not texts:
            return []
        assert self.tokenizer is not None
        encodings = _tokenizer(self.tokenizer).encode_batch(list(texts), add_special_tokens=False)
        return [
            first_pieces(unit_spans(text, unit), encoding.offsets)
            for text, encoding in zip(texts, encodings, strict=True)
        ]

    def unknown_symbols(self, text: str) -> list[str]:
        """The symbols outside the vocabulary, each with its position; errors as in `encode`."""
        encoding = self._encode_text(text, "text")
        return unknown_symbols(encoding.ids, encoding.offsets, text)

    def _encode_text(self, text: str, where: str) -> Encoding:
        if self.tokenizer is None:
            raise ValueError(
                f"{where}: got the text {text[:40]!r}, but this model has no tokenizer; "
                "pass lists of ids, or train with a data module whose side is Text(...)"
            )
        try:
            check_surrogates(text)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        encoding = _tokenizer(self.tokenizer).encode(str(text), add_special_tokens=False)
        check_no_special_ids(encoding.ids, where)
        return encoding

    def decode(self, ids: Iterable[Sequence[int]]) -> list[str] | list[list[int]]:
        """Turn lists of ids into texts, or into lists of integers if there is no tokenizer.

        Padding, start and end are omitted; the unknown symbol becomes `<unk>`.

        Raises:
            TypeError: If a row is not a list of whole numbers.
        """
        kept = [[i for i in written_ids(row) if i not in (PAD, START, END)] for row in ids]
        if self.tokenizer is None:
            return kept
        tokenizer = _tokenizer(self.tokenizer)
        return [tokenizer.decode(row, skip_special_tokens=False) for row in kept]

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """The text of each id, for labels of plots; bytes are shown as the vocabulary names them.

        Examples:
            >>> TextSpec(vocab_size=9, max_length=5).tokens([2, 4])
            ['<s>', '4']
        """
        if self.tokenizer is None:
            return [
                SPECIAL_TOKENS[i] if i < len(SPECIAL_TOKENS) else str(i) for i in written_ids(ids)
            ]
        tokenizer = _tokenizer(self.tokenizer)
        names = []
        for i in written_ids(ids):
            if i < len(SPECIAL_TOKENS):
                names.append(SPECIAL_TOKENS[i])
            else:
                # A byte that is not a character decodes to the replacement character.
                text = tokenizer.decode([i], skip_special_tokens=False)
                names.append(text if text and "�" not in text else str(tokenizer.id_to_token(i)))
        return names

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """The text in pieces, one for each id, with the space before it, if any.

        Reserved ids are empty pieces. A byte that is not a whole character is shown as the
        vocabulary names it.

        Examples:
            >>> TextSpec(vocab_size=9, max_length=5).pieces([2, 4, 5])
            ['', ' 4', ' 5']
        """
        ids = written_ids(ids)
        tokenizer = None if self.tokenizer is None else _tokenizer(self.tokenizer)
        pieces = []
        for i, name in zip(ids, self.tokens(ids), strict=True):
            raw = f" {name}" if tokenizer is None else str(tokenizer.id_to_token(i))
            begins = raw.startswith((" ", "▁", "Ġ"))
            text = name.removeprefix(raw[0] if name == raw else " ") if begins else name
            reserved = i < len(SPECIAL_TOKENS) and i != UNKNOWN
            pieces.append("" if reserved else (" " if begins else "") + text)
        return pieces

    @property
    def longest(self) -> int:
        """`max_length`, at least 1."""
        return max(1, self.max_length)

    @property
    def row_format(self) -> RowFormat:
        """Ids of each token."""
        return RowFormat("int32")

    def diff(self, other: TextSpec) -> str | None:
        """How the vocabularies differ; `None` if they are equal. It ignores `max_length`."""
        if self.vocab_size != other.vocab_size:
            return f"vocab_size {self.vocab_size} against {other.vocab_size}"
        return None if self.tokenizer == other.tokenizer else "two different tokenizers"

    def describe(self, value: Any) -> str:
        """The text, or ids separated by spaces."""
        return value if isinstance(value, str) else " ".join(str(int(i)) for i in value)

    def random_value(self, rng: Random, length: int) -> Any:
        """Random ids, without the four reserved ones."""
        return [rng.randrange(len(SPECIAL_TOKENS), self.vocab_size) for _ in range(length)]

    # As a source

    def make_input_layer(self, d_model: int) -> nn.Module:
        """An embedding."""
        embedding = nn.Embedding(self.vocab_size, d_model)
        nn.init.normal_(embedding.weight, std=d_model**-0.5)
        return embedding

    def embed(
        self, layer: nn.Module, source: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Embed the ids; an empty text becomes one unmasked position of padding."""
        if lengths is None:
            return layer(source), torch.ones_like(source, dtype=torch.bool), None
        if source.shape[1] == 0:
            source = nn.functional.pad(source, (0, 1), value=PAD)
        return layer(source), length_mask(lengths.clamp(min=1), source.shape[1]), lengths == 0

    def collate(
        self,
        encoded: Sequence[Any],
        device: torch.device,
        dtype: torch.dtype,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor | None]:
        """Pad the ids."""
        return pad(encoded, device)

    def unbatch(self, source: Tensor, lengths: Tensor | None) -> list[Any]:
        """Split a batch into the ids of each text, without padding."""
        if lengths is None:
            return list(source)
        pairs = zip(source.tolist(), lengths.tolist(), strict=True)
        return [EncodedIds(ids[:length]) for ids, length in pairs]

    # As a target

    @property
    def output_size(self) -> int:
        """One logit per id."""
        return self.vocab_size

    @property
    def suppressed_ids(self) -> tuple[int, ...]:
        """Padding and start; also unknown, where training did not contain it.

        The logit of a symbol that did not occur in training is not a prediction.
        """
        return (PAD, START) if self.unk_in_training else (PAD, START, UNKNOWN)

    @property
    def is_readable_text(self) -> bool:
        """Whether there is a tokenizer; without one predictions are lists of ids."""
        return self.tokenizer is not None

    def make_target_embedding(self, d_model: int) -> nn.Module | None:
        """An embedding, as for a source."""
        return self.make_input_layer(d_model)

    def collate_targets(
        self,
        encoded: Sequence[Any],
        device: torch.device,
        dtype: torch.dtype,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor | None]:
        """Add the start and end symbols, and pad the ids."""
        return pad([[START, *ids, END] for ids in encoded], device)

    def labels_of(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """The tokens after the start symbol, and the mask of the counted ones."""
        assert batch.target_lengths is not None
        labels = batch.target[:, 1:]
        mask = length_mask(batch.target_lengths - 1, labels.shape[1])
        mask &= ~batch.is_duplicate[:, None]
        return labels, mask & (labels != START)  # it separates the documents of a stream

    def count_items(self, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """The tokens after the start symbol."""
        return lengths - 1

    def compute_loss(
        self, hidden: Tensor, labels: Tensor, head: nn.Linear, *, smoothing: float = 0.0
    ) -> TargetLoss:
        """The summed cross-entropy in nats, and the statistics of each token."""
        measured = linear_cross_entropy(hidden, head.weight, head.bias, labels, smoothing)
        return TargetLoss(measured.loss, torch.tensor(len(labels)), *measured[1:])

    def item_loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of each token, in nats."""
        return nn.functional.cross_entropy(outputs, labels, reduction="none")

    def make_metrics(self) -> TokenStatistics:
        """Loss, perplexity, token accuracy and exact match."""
        return TokenStatistics()

    def decode_outputs(self, outputs: Tensor) -> list[Any]:
        """The texts of the most probable tokens."""
        return self.decode_labels(outputs.argmax(-1))

    def decode_labels(self, target: Tensor) -> list[Any]:
        """The texts of ids, without start, end and padding."""
        return list(self.decode(target.tolist()))
