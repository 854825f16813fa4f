"""Inference of a trained module that generates: texts, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Unpack, overload

import torch
from jaxtyping import Float
from torch import Tensor

from seqlearn.batch import END, START, SequenceBatch, check_batch
from seqlearn.core.generation import (
    MAX_BATCH_TOKENS,
    SupportsGeneration,
    batch_sources,
    encode_sources,
    generate,
    prompt_ids,
)
from seqlearn.core.generation_config import (
    GenerationOptions,
    StrategyName,
    default_max_new_tokens,
    resolve_options,
)
from seqlearn.core.prediction import RawInputs, alternatives
from seqlearn.core.scoring import log_probabilities
from seqlearn.decoding import DecodingStrategy
from seqlearn.instrumentation import muted
from seqlearn.plain_data import check_flag
from seqlearn.spec import GeneratedSpec
from seqlearn.spec.raw_inputs import check_list


class GenerationMixin:
    """The part of a module that generates and scores texts from raw sources.

    Every method puts the module into `eval` while it runs, without gradients, batches sources of
    similar length, and returns results in the order given.

    Attributes:
        max_batch_tokens: Most tokens of the sources and targets of a batch, padding included; less
            needs less memory. `generate` counts the prompts, not what it generates. Assign it to
            the class or to a module; it is not saved.
    """

    max_batch_tokens: int = MAX_BATCH_TOKENS

    @overload
    def generate(
        self: SupportsGeneration,
        sources: RawInputs = None,
        *,
        prompts: RawInputs = None,
        generator: torch.Generator | None = None,
        num_return_sequences: Literal[1] = 1,
        return_scores: Literal[False] = False,
        **options: Unpack[GenerationOptions],
    ) -> list[Any]: ...
    @overload
    def generate(
        self: SupportsGeneration,
        sources: RawInputs = None,
        *,
        prompts: RawInputs = None,
        generator: torch.Generator | None = None,
        num_return_sequences: int,
        return_scores: Literal[False] = False,
        **options: Unpack[GenerationOptions],
    ) -> list[list[Any]]: ...
    @overload
    def generate(
        self: SupportsGeneration,
        sources: RawInputs = None,
        *,
        prompts: RawInputs = None,
        generator: torch.Generator | None = None,
        num_return_sequences: Literal[1] = 1,
        return_scores: Literal[True],
        **options: Unpack[GenerationOptions],
    ) -> tuple[list[Any], Tensor]: ...
    @overload
    def generate(
        self: SupportsGeneration,
        sources: RawInputs = None,
        *,
        prompts: RawInputs = None,
        generator: torch.Generator | None = None,
        num_return_sequences: int,
        return_scores: Literal[True],
        **options: Unpack[GenerationOptions],
    ) -> tuple[list[list[Any]], Tensor]: ...
    @overload
    def generate(
        self: SupportsGeneration,
        sources: RawInputs = None,
        *,
        prompts: RawInputs = None,
        generator: torch.Generator | None = None,
        num_return_sequences: int = 1,
        return_scores: bool = False,
        **options: Unpack[GenerationOptions],
    ) -> Any: ...
    def generate(
        self: SupportsGeneration,
        sources: RawInputs = None,
        *,
        prompts: RawInputs = None,
        strategy: StrategyName | DecodingStrategy | None = None,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | Literal["never"] | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repetition_penalty: float | None = None,
        no_repeat_ngram_size: int | None = None,
        min_new_tokens: int | None = None,
        max_new_tokens: int | None = None,
        generator: torch.Generator | None = None,
        num_return_sequences: int = 1,
        return_scores: bool = False,
    ) -> Any:
        """Generate a text for each source, token by token, until the end symbol or the limit.

        Options that are `None` are those of `self.generation`; see `GenerationConfig` for what each
        does.

        Args:
            sources: Texts or lists of ids (without padding, start and end), or vectors; `None` for
                a language model. For a batch of a data module use `trainer.predict`.
            prompts: The first part of each text, which generation continues; it is returned too.
            strategy: `"greedy"`, `"beam"`, `"sample"`, or an object with the protocol
                `seqlearn.decoding.DecodingStrategy`.
            beam_size: Beam: rows for each source.
            length_penalty: Beam: the power of the length that divides log-probabilities.
            early_stopping: Beam: when a source is done.
            temperature: Sample: divides the logits.
            top_k: Sample: draw from so many of the most probable tokens.
            top_p: Sample: draw from the most probable tokens with this share of the probability.
            repetition_penalty: Lowers the scores of tokens that have occurred, if above 1.
            no_repeat_ngram_size: No n-gram of this size occurs twice.
            min_new_tokens: Tokens to generate before the end symbol.
            max_new_tokens: Most tokens to generate, the end symbol counted and prompts not.
            generator: Sample: seeds the draws; torch's own by default. The same state of a
                generator gives the same texts, however sources are put into batches; what is drawn
                for a source depends on its place in `sources` alone.
            num_return_sequences: Texts for each source: the best of a beam, or so many draws.
            return_scores: Whether to return scores too.

        Returns:
            One text per source, in the order given; a list of ids where there is no tokenizer.
            With `num_return_sequences` above one a list of texts per source, best first (sampling:
            as drawn); a beam may find fewer. With `return_scores` a pair: these, and a tensor
            `source` (or `source num_return_sequences`, -∞ where a text is missing) of
            log-probabilities in nats. They are what `SequenceModule.score` gives, by the
            model's own probabilities: of the whole text, with its prompt and the end symbol, also
            where it was cut at the limit, and without length and repetition penalties, which only
            rank.

        Raises:
            ValueError: If the target is not text, ids hold padding, start or end, a vector has
                another size or a number that is not finite, an option is outside its range, or the
                strategy does not use it.
            TypeError: If `sources` or `prompts` is not a list, an item is not a text, a list of ids
                or a vector, or `return_scores` is not true or false.

        Warns:
            UnknownSymbolWarning: If texts hold symbols outside the vocabulary that did not occur in
                training. They are encoded as unknown, which is then never generated.
        """
        target = _text(self, "generate makes texts")
        check_flag(return_scores, "return_scores")
        config, chosen = resolve_options(
            self.generation,
            strategy,
            num_return_sequences,
            beam_size=beam_size,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram_size=no_repeat_ngram_size,
            min_new_tokens=min_new_tokens,
            max_new_tokens=max_new_tokens,
        )
        if not isinstance(generator, torch.Generator | None):
            raise TypeError(
                f"generator: expected a torch.Generator, got {generator!r}; pass "
                "torch.Generator().manual_seed(seed)"
            )
        if generator is not None and chosen.num_seeds == 0:
            raise ValueError(
                f"strategy={strategy or config.strategy!r} does not use generator; leave it out, "
                "or pass strategy='sample'"
            )
        if config.max_new_tokens is None:
            config = replace(config, max_new_tokens=default_max_new_tokens(target.longest))
        prompts = None if prompts is None else check_list(prompts, "prompt")
        source_ids = encode_sources(self, sources, None if prompts is None else len(prompts))
        prefixes = prompt_ids(target, prompts, len(source_ids))
        generated = generate(self, source_ids, prefixes, chosen, config, generator)
        generated = [found[:num_return_sequences] for found in generated]
        texts: list[Any] = [target.decode(found) for found in generated]
        if num_return_sequences == 1:
            texts = [text for (text,) in texts]
        if not return_scores:
            return texts
        rows = [row for row, found in enumerate(generated) for _ in found]
        ranks = [rank for found in generated for rank in range(len(found))]
        with muted():  # a recording holds how the texts were generated
            log_p = log_probabilities(
                self,
                [source_ids[row] for row in rows],
                [[*generated[row][rank], END] for row, rank in zip(rows, ranks, strict=True)],
            )
        scores = log_p.new_full((len(generated), num_return_sequences), float("-inf"))
        scores[rows, ranks] = log_p
        return texts, scores[:, 0] if num_return_sequences == 1 else scores

    @overload
    def score(
        self: SupportsGeneration, sources: RawInputs, targets: Sequence[Any] | Tensor
    ) -> Float[Tensor, " sentence"]: ...
    @overload
    def score(
        self: SupportsGeneration, *, targets: Sequence[Any] | Tensor
    ) -> Float[Tensor, " sentence"]: ...
    def score(
        self: SupportsGeneration,
        sources: Sequence[Any] | Tensor | None = None,
        targets: Sequence[Any] | Tensor | None = None,
    ) -> Float[Tensor, " sentence"]:
        """Compute the log-probabilities of targets, given their sources.

        Args:
            sources: Texts or lists of ids, or vectors; `None` for a language model.
            targets: Texts or lists of ids (without start and end), one per source.

        Returns:
            Log-probabilities in nats, one per sentence, summed over its tokens including the end
            symbol, in the given order, on the CPU.

        Raises:
            ValueError: If the target is not text, the numbers of targets and sources differ, ids
                contain padding, start or end, or a vector is not finite or has another size.
            TypeError: If either is not a list, or an item is not a text, a list of ids or a vector.

        Warns:
            UnknownSymbolWarning: If texts contain symbols that did not occur in training.
        """
        target = _text(self, "score measures texts")
        if targets is None:
            call = "targets=[…]" if self.spec.source is None else "sources, targets"
            raise ValueError(f"score expects targets, got none; pass score({call})")
        targets = check_list(targets, "target")
        source_ids = encode_sources(self, sources, len(targets))
        if len(targets) != len(source_ids):
            raise ValueError(
                f"expected {len(source_ids)} targets, one per source, got {len(targets)}"
            )
        ids = target.encode(targets, label="target")
        return log_probabilities(self, source_ids, [[START, *each, END] for each in ids])

    def generate_batch(self: SupportsGeneration, batch: SequenceBatch) -> list[Any]:
        """Generate a text for each source of a batch, without using its target.

        It calls `self.generate`. `trainer.test`, `trainer.predict` and the callbacks call this
        method, so a subclass that overrides `generate` changes all of them.
        """
        check_batch(batch)
        module: Any = self
        answers: list[Any] = module.generate(batch_sources(self.spec, batch))
        return answers


def _text(module: SupportsGeneration, does: str) -> GeneratedSpec:
    """The target type, if a decoder generates it.

    Raises:
        ValueError: If the target needs no decoder.
    """
    target = module.spec.target
    if isinstance(target, GeneratedSpec):
        return target
    raise ValueError(
        f"{does}, and this model's target is {type(target).__name__}; {alternatives(target)}"
    )
