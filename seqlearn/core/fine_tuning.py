"""`FineTuning`: weights of another trained module, and pretrained word vectors."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from seqlearn.batch import SPECIAL_TOKENS
from seqlearn.core.word_vectors import read_word_vectors
from seqlearn.plain_data import check_flag
from seqlearn.spec import SequenceSpec, TextSpec

SIDES = {"source_embedding": "source", "target_embedding": "target", "head": "target"}
"""The parts of a module whose weights mean something only with one source or target type."""


class EmbeddingReport(NamedTuple):
    """What `load_embeddings` found.

    Attributes:
        found: Number of tokens of the vocabulary that have a pretrained vector.
        total: Number of tokens of the vocabulary, without the four reserved ones.
        missing: The tokens that keep their initial vectors, in the order of their ids.
    """

    found: int
    total: int
    missing: tuple[str, ...]

    def __str__(self) -> str:
        examples = f", such as {', '.join(map(repr, self.missing[:5]))}" if self.missing else ""
        share = self.found / max(1, self.total)
        return (
            f"pretrained vectors for {self.found} of {self.total} tokens ({share:.1%}); "
            f"{len(self.missing)} keep their initial vectors{examples}"
        )


class FineTuning(L.LightningModule):
    """The part of a module that starts from other trained weights."""

    spec: SequenceSpec
    d_model: int
    source_embedding: nn.Module | None
    target_embedding: nn.Module | None

    def load_parts(
        self, trained: nn.Module, parts: Sequence[str] = ("source_embedding", "encoder")
    ) -> list[str]:
        """Copy the weights of parts of another trained module, also one of another task.

        Nothing is copied unless all parts fit. The other weights of this module do not change.

        Args:
            trained: A trained module, such as `sl.GRU.from_pretrained(folder)`.
            parts: The names of submodules of both modules, such as `"encoder"` or
                `"encoder.layers.0"`. By default what reads the source; the new target gets a new
                head.

        Returns:
            The names of the weights that were copied.

        Raises:
            ValueError: If a part is missing in one of the modules, its weights have other names or
                shapes, or the vocabulary (labels, scaling) that it belongs to is another one; the
                message says what to do.
            TypeError: If `trained` is not a module, or `parts` is one string.

        Examples:
            >>> import seqlearn as sl
            >>> text, labels = sl.TextSpec(9, 4), sl.ClassesSpec(("no", "yes"))
            >>> translator = sl.GRU(sl.SequenceSpec(text, text), d_model=4)
            >>> classifier = sl.GRU(sl.SequenceSpec(text, labels), d_model=4)
            >>> classifier.load_parts(translator)[0]
            'source_embedding.weight'
        """
        if not isinstance(trained, nn.Module):
            raise TypeError(
                f"expected a trained module, got {trained!r}; load it first, with from_pretrained "
                "or load_from_checkpoint"
            )
        if isinstance(parts, str):
            raise TypeError(f"expected a list of parts, got {parts!r}; pass [{parts!r}]")
        mine = {part: _part(self, part) for part in parts}
        theirs = {part: _part(trained, part) for part in parts}
        for part in parts:
            self._check_meaning(part, trained)
            _check_fits(part, mine[part].state_dict(), theirs[part].state_dict())
        for part in parts:
            mine[part].load_state_dict(theirs[part].state_dict())
        return [f"{part}.{name}" for part in parts for name in mine[part].state_dict()]

    def _check_meaning(self, part: str, trained: nn.Module) -> None:
        """Check that a part of both modules belongs to the same source or target type."""
        side = SIDES.get(part.partition(".")[0])
        other: Any = getattr(trained, "spec", None)
        if side is None or not isinstance(other, SequenceSpec):
            return
        wanted: Any = getattr(self.spec, side)
        given: Any = getattr(other, side)
        same_type = type(wanted) is type(given)
        difference = wanted.diff(given) if same_type else f"{wanted} against {given}"
        if difference is None:
            return
        advice = f"leave {part!r} out of parts"
        if same_type:
            other_side = "target" if side == "source" else "source"
            advice = f"call data.use_spec(trained.spec, {other_side}=False) first, or {advice}"
        raise ValueError(
            f"{part}: the {side} of this module is not that of the trained one ({difference}); "
            f"{advice}"
        )

    def load_embeddings(
        self,
        path: str | os.PathLike[str],
        side: Literal["source", "target"] = "source",
        *,
        rescale: bool = True,
    ) -> EmbeddingReport:
        """Load pretrained word vectors into the embedding of a vocabulary.

        A token gets the vector of its text or, if the file lacks it, that of the text in lower
        case. Tokens without a vector, and the reserved ones, keep their initial vectors.

        Args:
            path: GloVe, fastText or word2vec vectors: text, or word2vec's binary form if the name
                ends in `.bin`; both also `.gz`.
            side: Whose vocabulary. A joint or tied embedding changes on both sides.
            rescale: Whether all vectors are multiplied by one factor, so that their mean square
                equals that of the initial vectors, which the architectures expect.

        Returns:
            How many tokens have a vector; `str` of it is a sentence.

        Raises:
            ValueError: If this side is not text with a tokenizer, the vectors do not have the
                width of the embedding (the message gives the right `d_model`), or no token has a
                vector.
            FileNotFoundError: If there is no such file.
        """
        if side not in ("source", "target"):
            raise ValueError(f"expected side='source' or 'target', got {side!r}")
        check_flag(rescale, "rescale")
        spec: Any = getattr(self.spec, side)
        layer: Any = self.source_embedding if side == "source" else self.target_embedding
        if not isinstance(spec, TextSpec) or spec.tokenizer is None or layer is None:
            raise ValueError(
                f"word vectors need a {side} that is text with a tokenizer, got {spec!r}"
            )
        first = len(SPECIAL_TOKENS)
        tokens = [text.strip() for text in spec.tokens(range(first, spec.vocab_size))]
        wanted = {word for token in tokens for word in (token, token.lower())}
        size, vectors = read_word_vectors(path, wanted)
        weight: Tensor = layer.weight
        if size != weight.shape[1]:
            raise ValueError(
                f"{path}: expected vectors of {weight.shape[1]} numbers, as wide as the embedding, "
                f"got {size}; build the module with d_model={size}"
            )
        rows = {
            number: vectors[word]
            for number, token in enumerate(tokens, first)
            for word in [next((w for w in (token, token.lower()) if w in vectors), None)]
            if word is not None
        }
        if not rows:
            raise ValueError(
                f"{path}: expected vectors of tokens such as {', '.join(map(repr, tokens[:5]))}, "
                "found none; use a file of the same language, and words as tokens"
            )
        _write_rows(weight, rows, rescale=rescale)
        missing = [token for number, token in enumerate(tokens, first) if number not in rows]
        report = EmbeddingReport(len(rows), len(tokens), tuple(missing))
        rank_zero_info(f"{path}: {report}")
        return report


@torch.no_grad()
def _write_rows(weight: Tensor, rows: dict[int, Any], *, rescale: bool) -> None:
    index = torch.tensor(list(rows), device=weight.device)
    values = torch.stack([torch.from_numpy(row) for row in rows.values()]).to(weight)
    if rescale:
        present = values.square().mean().sqrt().clamp(min=1e-12)
        values = values * (weight.square().mean().sqrt() / present)
    weight[index] = values


def _part(module: nn.Module, name: str) -> nn.Module:
    try:
        part = module.get_submodule(name) if name else None
    except AttributeError:
        part = None
    if part is None or not part.state_dict():
        known = [child for child, each in module.named_children() if each.state_dict()]
        raise ValueError(
            f"{type(module).__name__} has no part {name!r} with weights; it has {', '.join(known)}"
        )
    return part


def _check_fits(part: str, mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    """Check that the weights of a part have equal names and shapes.

    Raises:
        ValueError: If they do not; the message names the first that differs.
    """
    for name in [*mine, *theirs]:
        shapes = [tuple(held[name].shape) if name in held else None for held in (mine, theirs)]
        if shapes[0] != shapes[1]:
            here, there = (str(shape) if shape else "is missing" for shape in shapes)
            raise ValueError(
                f"{part}.{name}: the weights do not fit: {here} here, {there} in the trained "
                "module; build both with the same class and the same arguments"
            )
