"""The decoding options of a module, in one dataclass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, get_args

from seqlearn.decoding import (
    BeamSearch,
    DecodingStrategy,
    GreedySearch,
    LogitsProcessor,
    MinNewTokens,
    NoRepeatNGram,
    RepetitionPenalty,
    Sampling,
)
from seqlearn.plain_data import check_whole_number, convert_fields

StrategyName = Literal["greedy", "beam", "sample"]

STRATEGY_OF = {
    "beam_size": "beam",
    "length_penalty": "beam",
    "early_stopping": "beam",
    "temperature": "sample",
    "top_k": "sample",
    "top_p": "sample",
}
"""The options that only one strategy uses, with its name."""


@dataclass(frozen=True)
class GenerationConfig:
    """How a module generates texts, unless arguments of `generate` say otherwise.

    `trainer.test`, `trainer.predict`, the callbacks and the command line all go through
    `generate`, and so use it too. It is saved with the module.

    Attributes:
        strategy: `"greedy"` takes the most probable token at every step, `"beam"` keeps the
            `beam_size` most probable prefixes, `"sample"` draws each token.
        beam_size: Beam: rows for each source.
        length_penalty: Beam: the power of the length by which log-probabilities are divided before
            they are compared: above 0 favours longer texts, below 0 shorter ones.
        early_stopping: Beam: when a source with `beam_size` finished texts is done: `True` at once,
            `False` when no unfinished row, finished now, would beat the worst of them, `"never"`
            when none can.
        temperature: Sample: logits are divided by it; above 0.
        top_k: Sample: draw from so many of the most probable tokens; `None` is all.
        top_p: Sample: draw from the fewest most probable tokens that have this share of the
            probability (after `temperature` and `top_k`), above 0 and at most 1; `None` is all.
        repetition_penalty: Divides positive and multiplies negative logits of all tokens that have
            occurred, the prompt included; above 0, and 1 changes nothing.
        no_repeat_ngram_size: No n-gram of this size occurs twice, the prompt included; 0 is off.
        min_new_tokens: Tokens to generate before the end symbol.
        max_new_tokens: Most tokens to generate, the end symbol counted and prompts not; `None` is
            twice the longest target of any split, and at least 8.

    Raises:
        TypeError: If a value is not of its type, such as a string for a number.
        ValueError: If a value is outside its range; the message gives both.

    Examples:
        >>> GenerationConfig("beam", beam_size=8).override(length_penalty=0.6).length_penalty
        0.6
    """

    strategy: StrategyName = "greedy"
    beam_size: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    min_new_tokens: int = 0
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        convert_fields(self)
        if self.strategy not in get_args(StrategyName):
            names = ", ".join(map(repr, get_args(StrategyName)))
            raise ValueError(f"expected strategy {names}, got {self.strategy!r}")
        BeamSearch(self.beam_size, self.length_penalty, self.early_stopping)
        Sampling(self.temperature, self.top_k, self.top_p)
        if not 0 < self.repetition_penalty < float("inf"):
            raise ValueError(
                f"expected repetition_penalty above 0 (1 is off), got {self.repetition_penalty}"
            )
        for name in ("no_repeat_ngram_size", "min_new_tokens"):
            if (value := getattr(self, name)) < 0:
                raise ValueError(f"expected {name} of at least 0 (0 is off), got {value}")
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            raise ValueError(
                f"expected max_new_tokens of at least 1, or None, got {self.max_new_tokens}"
            )
        if self.max_new_tokens is not None and self.max_new_tokens < self.min_new_tokens:
            raise ValueError(
                f"expected min_new_tokens of at most max_new_tokens={self.max_new_tokens}, got "
                f"{self.min_new_tokens}"
            )

    def override(self, **options: Any) -> GenerationConfig:
        """Replace single fields; an option that is `None` keeps its field.

        Fields that only another strategy uses are kept and have no effect.

        Raises:
            ValueError: If an option is given that the resulting strategy does not use, or a value
                is outside its range.
        """
        given = {name: value for name, value in options.items() if value is not None}
        config = replace(self, **given)
        for name in given:
            if STRATEGY_OF.get(name, config.strategy) != config.strategy:
                raise ValueError(
                    f"strategy={config.strategy!r} does not use {name}; leave it out, or pass "
                    f"strategy={STRATEGY_OF[name]!r}"
                )
        return config

    def make_strategy(self, num_return_sequences: int = 1) -> DecodingStrategy:
        """Build the strategy.

        Raises:
            ValueError: If it cannot return so many texts per source.
        """
        num_return_sequences = check_whole_number(num_return_sequences, "num_return_sequences", 1)
        if self.strategy == "sample":
            return Sampling(self.temperature, self.top_k, self.top_p, num_return_sequences)
        if self.strategy == "beam":
            if num_return_sequences > self.beam_size:
                raise ValueError(
                    f"expected num_return_sequences of at most beam_size={self.beam_size}, got "
                    f"{num_return_sequences}; pass a larger beam_size"
                )
            return BeamSearch(self.beam_size, self.length_penalty, self.early_stopping)
        if num_return_sequences > 1:
            raise ValueError(
                "strategy='greedy' generates one text for each source, got num_return_sequences="
                f"{num_return_sequences}; pass strategy='beam' or strategy='sample'"
            )
        return GreedySearch()

    def processors(self, prompt_length: int) -> list[LogitsProcessor]:
        """Build the logits processors that are not off, in the order of Hugging Face.

        Args:
            prompt_length: Tokens of the start symbol and the prompt.
        """
        found: list[LogitsProcessor] = []
        if self.repetition_penalty != 1:
            found.append(RepetitionPenalty(self.repetition_penalty))
        if self.no_repeat_ngram_size > 0:
            found.append(NoRepeatNGram(self.no_repeat_ngram_size))
        if self.min_new_tokens > 0:
            found.append(MinNewTokens(self.min_new_tokens, prompt_length))
        return found


class GenerationOptions(TypedDict, total=False):
    """The options of `generate` that override fields of the module's `GenerationConfig`."""

    strategy: StrategyName | DecodingStrategy | None
    beam_size: int | None
    length_penalty: float | None
    early_stopping: bool | Literal["never"] | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    repetition_penalty: float | None
    no_repeat_ngram_size: int | None
    min_new_tokens: int | None
    max_new_tokens: int | None


def default_max_new_tokens(longest: int) -> int:
    """The limit of `generate` where none is given: twice the longest target, 8 at least.

    Args:
        longest: The length of the longest target.

    Examples:
        >>> default_max_new_tokens(3), default_max_new_tokens(20)
        (8, 40)
    """
    return max(8, 2 * longest)


def resolve_options(
    config: GenerationConfig,
    strategy: object,
    num_return_sequences: int,
    **options: Any,
) -> tuple[GenerationConfig, DecodingStrategy]:
    """Apply the arguments of `generate` to a module's config.

    Args:
        config: The module's.
        strategy: A name, an object with the protocol, or `None` for the config's.
        num_return_sequences: Texts for each source.
        options: Other fields of the config by name; `None` keeps a field.

    Raises:
        TypeError: If `strategy` is something else, or a value is not of its type.
        ValueError: If the strategy does not use an option, or a value is outside its range.
    """
    num_return_sequences = check_whole_number(num_return_sequences, "num_return_sequences", 1)
    if strategy is None or isinstance(strategy, str):
        config = config.override(strategy=strategy, **options)
        return config, config.make_strategy(num_return_sequences)
    if not isinstance(strategy, DecodingStrategy) or isinstance(strategy, type):
        names = ", ".join(map(repr, get_args(StrategyName)))
        raise TypeError(
            f"expected strategy {names} or an object with rows_per_source, num_seeds and __call__ "
            f"(seqlearn.decoding.DecodingStrategy), got {strategy!r}"
        )
    kind = type(strategy).__name__
    check_whole_number(strategy.rows_per_source, f"{kind}.rows_per_source", 1)
    check_whole_number(strategy.num_seeds, f"{kind}.num_seeds", 0)
    for name, owner in STRATEGY_OF.items():
        if options.pop(name, None) is not None:
            raise ValueError(
                f"the strategy {type(strategy).__name__} does not use {name}; leave it out, or "
                f"pass strategy={owner!r}"
            )
    return config.override(**options), strategy
