"""What a trained module is asked: to answer raw sources, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seqlearn.batch import END, START, SequenceBatch, check_batch
from seqlearn.core.generation import (
    SupportsGeneration,
    batch_sources,
    encode_sources,
    generate,
    prompt_ids,
)
from seqlearn.core.scoring import class_probabilities, log_probabilities
from seqlearn.decoding import Strategy, StrategyName
from seqlearn.instrumentation import muted
from seqlearn.plain_data import check_whole_number
from seqlearn.spec import ClassesSpec, TextSpec
from seqlearn.spec.raw_inputs import check_list


class GenerationMixin:
    """The part of a module that answers raw sources.

    Every method puts the module into `eval` while it works, without gradients, goes through the
    sources in batches of about one length, and answers in the order given.
    """

    def generate(
        self: SupportsGeneration,
        sources: Sequence[Any] | Tensor | None = None,
        *,
        prompts: Sequence[Any] | Tensor | None = None,
        strategy: StrategyName = "greedy",
        beam_size: int | None = None,
        length_penalty: float | None = None,
        early_stopping: bool | Literal["never"] | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
        max_new_tokens: int | None = None,
        num_return_sequences: int = 1,
        return_scores: bool = False,
    ) -> Any:
        """Answer raw sources with texts, token by token, until the end symbol or the limit.

        Args:
            sources: Texts or lists of ids (without padding, start and end), or vectors; `None` for
                a language model. For a batch of a data module use `trainer.predict`.
            prompts: Beginnings of the answers, one each; the answers continue them, and hold them.
            strategy: `"greedy"` takes the likeliest token at every step, `"beam"` keeps the
                `beam_size` likeliest beginnings, `"sample"` draws each token.
            beam_size: Beam: rows for each source; 4 by default.
            length_penalty: Beam: the power of the length (tokens made, the end symbol counted) by
                which log-probabilities are divided before they are compared; 1.0 by default.
            early_stopping: Beam: when a source is done that has `beam_size` finished answers:
                `True` at once, `False` (the default) when no row would beat the worst of them if it
                ended now, `"never"` when none can, whatever follows.
            temperature: Sample: what logits are divided by; 1.0 by default.
            top_k: Sample: draw among so many of the likeliest tokens; all by default.
            top_p: Sample: draw among the fewest likeliest tokens that have this share of the
                probability (after `temperature` and `top_k`); all by default.
            generator: Sample: what seeds the draws; torch's own by default. From the same state of
                a generator come the same answers, however the sources are put into batches; what
                is drawn for a source depends on its place in `sources` alone.
            max_new_tokens: Most tokens to generate, the end symbol counted and prompts not; by
                default twice the longest target seen in training.
            num_return_sequences: Number of texts per source: the best of a beam, or so many draws.
            return_scores: Whether to return the answers' scores too.

        Returns:
            One text per source, in the order given; a list of ids where there is no tokenizer.
            With `num_return_sequences` above one a list of texts per source, the best first
            (sampling: as drawn); a beam may find fewer where there are not so many. With
            `return_scores` a pair: these, and a tensor `source` (or `source num_return_sequences`,
            -∞ where a text is missing) of log-probabilities in nats. They are what `score` gives:
            of the whole text, with its prompt and the end symbol, also where it was cut at the
            limit, and without a length penalty, which only ranks.

        Raises:
            ValueError: If the target is not text, ids hold padding, start or end, a vector has
                another size or a number that is not finite, an option is outside its range, or the
                strategy does not read it.
            TypeError: If `sources` or `prompts` is no list, or one of them no text, list of ids or
                vector.

        Warns:
            UnknownSymbolWarning: If texts hold symbols that training never showed. They are
                encoded as unknown; a model that never saw the unknown symbol never writes it.
        """
        target = _text(self, "generate makes texts")
        options = {
            "beam_size": beam_size,
            "length_penalty": length_penalty,
            "early_stopping": early_stopping,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "generator": generator,
        }
        chosen = Strategy(strategy, options, num_return_sequences)
        if max_new_tokens is None:
            max_new_tokens = max(8, 2 * target.max_length)
        max_new_tokens = check_whole_number(max_new_tokens, "max_new_tokens", 1)
        prompts = None if prompts is None else check_list(prompts, "prompt")
        source_ids = encode_sources(self, sources, None if prompts is None else len(prompts))
        prefixes = prompt_ids(target, prompts, len(source_ids))
        answers = generate(self, source_ids, prefixes, chosen, max_new_tokens)
        texts: list[Any] = [target.decode(found) for found in answers]
        if num_return_sequences == 1:
            texts = [text for (text,) in texts]
        if not return_scores:
            return texts
        rows = [row for row, found in enumerate(answers) for _ in found]
        places = [place for found in answers for place in range(len(found))]
        with muted():  # for what is recorded is how the answers were made
            made = log_probabilities(
                self,
                [source_ids[row] for row in rows],
                [[*answers[row][place], END] for row, place in zip(rows, places, strict=True)],
            )
        scores = made.new_full((len(answers), num_return_sequences), float("-inf"))
        scores[rows, places] = made
        return texts, scores[:, 0] if num_return_sequences == 1 else scores

    def score(
        self: SupportsGeneration,
        sources: Sequence[Any] | Tensor | None = None,
        targets: Sequence[Any] | Tensor | None = None,
    ) -> Float[Tensor, " sentence"]:
        """Say how probable targets are, given their sources.

        Args:
            sources: Texts or lists of ids, or vectors; `None` for a language model.
            targets: Texts or lists of ids (without start and end), one a source.

        Returns:
            Log-probabilities in nats, one per sentence, in the order given, summed over its
            tokens, the end symbol included. On the CPU.

        Raises:
            ValueError: If the target is not text, there are no targets or not as many as sources,
                ids hold padding, start or end, or a vector is not finite or of another size.
            TypeError: If either is no list, or an item no text, list of ids or vector.

        Warns:
            UnknownSymbolWarning: If texts hold symbols that training never showed.
        """
        target = _text(self, "score measures texts")
        if targets is None:
            call = "targets=[…]" if self.spec.source is None else "sources, targets"
            raise ValueError(f"score expects targets, got none; pass score({call})")
        targets = check_list(targets, "target")
        source_ids = encode_sources(self, sources, len(targets))
        if len(targets) != len(source_ids):
            raise ValueError(
                f"expected {len(source_ids)} targets, one a source, got {len(targets)}"
            )
        ids = target.encode(targets, label="target")
        return log_probabilities(self, source_ids, [[START, *each, END] for each in ids])

    def classify(
        self: SupportsGeneration, sources: Sequence[Any] | Tensor
    ) -> tuple[list[str], Float[Tensor, "source labels"]]:
        """Say to which class each source belongs.

        Args:
            sources: Texts or lists of ids.

        Returns:
            The likeliest label of each source, and the probabilities `source labels` of all labels
            in the order of `spec.target.labels`, on the CPU.

        Raises:
            ValueError: If the target is not classes, or ids hold padding, start or end.
            TypeError: If `sources` is no list, or a source no text or list of ids.

        Warns:
            UnknownSymbolWarning: If texts hold symbols that training never showed.
        """
        target = self.spec.target
        if not isinstance(target, ClassesSpec):
            instead = (
                "use generate or score"
                if isinstance(target, TextSpec)
                else "call the model on a batch, or use trainer.predict"
            )
            raise ValueError(  # noqa: TRY004 -- the model is of the wrong kind, not the argument
                f"classify needs a target of classes, and this model's target is "
                f"{type(target).__name__}; {instead}"
            )
        source_ids = encode_sources(self, sources)
        probabilities = class_probabilities(self, source_ids, len(target.labels))
        return [target.labels[at] for at in probabilities.argmax(-1).tolist()], probabilities

    def generate_batch(self: SupportsGeneration, batch: SequenceBatch) -> list[Any]:
        """Generate an answer to each source of a batch; its target is not used.

        It calls `self.generate`, as `trainer.test`, `trainer.predict` and the callbacks do, so
        that a subclass that overrides `generate` decides how all of them decode.
        """
        check_batch(batch)
        module: Any = self
        answers: list[Any] = module.generate(batch_sources(batch))
        return answers


def _text(module: SupportsGeneration, does: str) -> TextSpec:
    """The target, if it is text."""
    target = module.spec.target
    if isinstance(target, TextSpec):
        return target
    instead = (
        "use classify"
        if isinstance(target, ClassesSpec)
        else "call the model on a batch, or use trainer.predict"
    )
    raise ValueError(  # the model is of the wrong kind, not the argument
        f"{does}, and this model's target is {type(target).__name__}; {instead}"
    )
