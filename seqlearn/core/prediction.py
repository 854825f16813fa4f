"""Prediction of any target from raw sources: classes, tags, vectors, or what is generated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from seqlearn.core.generation import SupportsGeneration, encode_sources
from seqlearn.core.scoring import pooled_outputs, word_outputs
from seqlearn.spec import TargetSpec

RawInputs = Sequence[Any] | Tensor | None
"""Texts, lists of ids or vectors."""


class PredictionMixin:
    """The part of a module that predicts from raw sources.

    Every method puts the module into `eval` while it runs, without gradients, batches sources of
    similar length, and returns results in the order given.
    """

    def classify(
        self: SupportsGeneration, sources: Sequence[Any] | Tensor
    ) -> tuple[list[Any], Float[Tensor, "source labels"]]:
        """Predict the class of each source, or its labels if there may be several.

        Args:
            sources: Texts or lists of ids.

        Returns:
            The most probable label of each source (with a target of several labels, the list of
            those with a probability above one half), and the probabilities `source labels` in the
            order of `spec.target.labels`, on the CPU.

        Raises:
            ValueError: If the target is not a class, ids contain padding, start or end, or outputs
                are NaN or infinite.
            TypeError: If `sources` is not a list, or an item is not a text or a list of ids.

        Warns:
            UnknownSymbolWarning: If texts contain symbols that did not occur in training.
        """
        target: Any = _check_method(self, "classify", "classes")
        source_ids = encode_sources(self, sources)
        outputs = pooled_outputs(self, source_ids)
        probabilities: Tensor = target.probabilities(outputs)
        return target.decode_outputs(outputs), probabilities

    def tag(
        self: SupportsGeneration, sources: Sequence[Any]
    ) -> tuple[list[list[str]], list[Float[Tensor, "words labels"]]]:
        """Predict a label for each word of each sentence, or for each character.

        A model of tags of characters (`CharacterTagsSpec`) gives a label for each character of a
        text, white space too.

        Args:
            sources: Texts, which are split at ASCII white space (or into characters), lists of
                words (or of characters), or lists of ids, each of which is a word.

        Returns:
            By sentence the most probable label of each word, and the probabilities `words labels`
            in the order of `spec.target.labels`, on the CPU.

        Raises:
            ValueError: If the target is not tags, a word is empty or contains white space, an item
                of a list of characters is not one character, or outputs are NaN or infinite.
            TypeError: If `sources` is not a list, or an item is not a sentence.

        Warns:
            UnknownSymbolWarning: If they contain symbols that did not occur in training.

        Examples:
            >>> import seqlearn as sl
            >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.TagsSpec(("noun", "verb")))
            >>> [p.shape for p in sl.GRU(spec, d_model=4).tag([[4, 5, 6], [7]])[1]]
            [torch.Size([3, 2]), torch.Size([1, 2])]
        """
        target: Any = _check_method(self, "tag", "tags")
        source: Any = self.spec.source
        sentences = source.encode_words(sources, label="source", unit=target.unit)
        probabilities = [outputs.softmax(-1) for outputs in word_outputs(self, sentences)]
        return [target.decode_outputs(each) for each in probabilities], probabilities

    def predict(self: SupportsGeneration, sources: RawInputs) -> list[Any]:
        """Predict the target of each source, whatever its type is.

        Texts come from `self.generate` with the options of `self.generation`, classes from
        `self.classify`, tags from `self.tag`, so that a subclass that overrides these methods
        changes `predict` too. Other targets, such as vectors, come from one forward pass and the
        target's `decode_outputs`.

        Args:
            sources: Texts or lists of ids, or vectors; for tags also lists of words. A language
                model has no source; use `generate(prompts=…)`.

        Returns:
            One text, label, list of one label per word (or character), or vector per source, in
            the given order.

        Raises:
            ValueError: If ids contain padding, start or end, a vector has another size or a number
                that is not finite, or outputs are NaN or infinite.
            TypeError: If `sources` is not a list, or an item is not a text, a list of ids or a
                vector.

        Warns:
            UnknownSymbolWarning: If texts contain symbols outside the vocabulary that did not
                occur in training.

        Examples:
            >>> import seqlearn as sl
            >>> spec = sl.SequenceSpec(sl.TextSpec(9, 4), sl.VectorSpec(2))
            >>> [vector.shape for vector in sl.GRU(spec, d_model=4).predict([[4, 5], [6]])]
            [torch.Size([2]), torch.Size([2])]
        """
        module: Any = self
        target = self.spec.target
        if target.needs_decoder:
            return list(module.generate(sources))
        if "classify" in target.methods:
            return list(module.classify(sources)[0])
        if "tag" in target.methods:
            return list(module.tag(sources)[0])
        return target.decode_outputs(pooled_outputs(self, encode_sources(self, sources)))


def _check_method(module: SupportsGeneration, method: str, what: str) -> TargetSpec:
    """The target type, if it has a method.

    Raises:
        ValueError: If it does not.
    """
    target = module.spec.target
    if method in target.methods:
        return target
    raise ValueError(
        f"{method} needs a target of {what}, and this model's target is {type(target).__name__}; "
        f"{alternatives(target)}"
    )


def alternatives(target: TargetSpec) -> str:
    """Advice for an error: the methods that a model with this target has."""
    return f"use {' or '.join(target.methods) or 'predict(sources)'}"
