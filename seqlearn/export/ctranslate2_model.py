"""Runs an export of the format `"ctranslate2"`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seqlearn.batch import END, START
from seqlearn.export.config_file import check_files, read_config
from seqlearn.export.options import search_options
from seqlearn.export.packages import require
from seqlearn.export.runtime import default_threads
from seqlearn.export.sides import Side

FILES = ("model.bin", "config.json")
"""Files of CTranslate2 in every folder; vocabularies are in one or two files."""

MAX_BATCH_TOKENS = 4096


class CTranslate2Model:
    """A Transformer that CTranslate2 runs, from raw texts to texts.

    Args:
        folder: A folder that `seqlearn export --format ctranslate2` wrote.
        threads: Threads of one operator; by default `OMP_NUM_THREADS`, or all cores.
        options: Other arguments of `ctranslate2.Translator`, such as `device` and `compute_type`.
            By default it computes in the type of the quantization, or in the nearest that the
            device has.

    Attributes:
        config: The contents of `export.json`.
        translator: The `ctranslate2.Translator`, or for a language model the `Generator`.

    Raises:
        FileNotFoundError: If the folder was not written by `seqlearn export`, or a file is missing.
        ValueError: If it has another format, CTranslate2 cannot load a file, or the device does not
            have the `compute_type`.
        ModuleNotFoundError: If ctranslate2 is not installed.

    Examples:
        >>> model.export("exported", "ctranslate2")  # doctest: +SKIP
        >>> CTranslate2Model("exported", compute_type="int8").generate(["3 1 4"])  # doctest: +SKIP
        ['4 1 3']
    """

    def __init__(self, folder: str | os.PathLike[str], *, threads: int = 0, **options: Any) -> None:
        self.config = read_config(folder)
        if self.config["format"] != "ctranslate2":
            raise ValueError(
                f"{folder}: expected the format 'ctranslate2', got {self.config['format']!r}; use "
                "seqlearn.export.load_exported, which reads all formats"
            )
        ctranslate2 = require("ctranslate2")
        spec = self.config["spec"]
        self._source, self._target = (Side(spec[name]) for name in ("source", "target"))
        make = ctranslate2.Generator if self._source.kind is None else ctranslate2.Translator
        check_files(folder, FILES)
        threads = threads or default_threads()
        try:
            self.translator = make(str(folder), intra_threads=threads, **options)
        except RuntimeError as error:
            raise ValueError(
                f"{folder}: expected a model that CTranslate2 can load, got the error: {error}; "
                "if the device and compute_type are right, copy the whole folder again"
            ) from error
        self._tokens = self.config["tokens"]
        self._ids = {token: number for number, token in enumerate(self._tokens["target"])}

    def generate(
        self,
        sources: Sequence[Any] | None = None,
        *,
        prompts: Sequence[Any] | None = None,
        num_return_sequences: int = 1,
        **options: Any,
    ) -> list[Any]:
        """Generate a text for each source, with the beam search of CTranslate2.

        Its beam search ends a source once it has `beam_size` finished texts, as
        `early_stopping=True` does in seqlearn, and applies `repetition_penalty`,
        `no_repeat_ngram_size` and `min_new_tokens` before the softmax. A source without tokens
        gives an empty text.

        Args:
            sources: Texts or lists of ids; `None` for a language model.
            prompts: The first part of each text; it is returned too.
            num_return_sequences: Texts for each source, best first.
            options: As in `seqlearn.export.ExportedModel.generate`.

        Returns:
            As `seqlearn.export.ExportedModel.generate`.

        Raises:
            ValueError: If an option has no effect or is outside its range.
            TypeError: If `sources` is one string, or an option is unknown or not of its type.
        """
        if options.get("early_stopping") not in (None, True):
            raise ValueError(
                "CTranslate2 ends a source as early_stopping=True does; leave early_stopping out, "
                "or use format='onnx'"
            )
        settings = search_options(self.config["generation"], options, num_return_sequences)
        beam = settings["strategy"] == "beam"
        searched = {
            "beam_size": settings["beam_size"] if beam else 1,
            "length_penalty": settings["length_penalty"] if beam else 1.0,
            "num_hypotheses": num_return_sequences,
            "repetition_penalty": settings["repetition_penalty"],
            "no_repeat_ngram_size": settings["no_repeat_ngram_size"],
            "suppress_sequences": [
                [self._tokens["target"][number]] for number in self.config["suppressed_ids"]
            ],
            "max_batch_size": MAX_BATCH_TOKENS,
            "batch_type": "tokens",
        }
        limits = {
            "min": settings["min_new_tokens"],
            "max": settings["max_new_tokens"],
        }
        if self._source.kind is None:
            if sources is not None:
                raise ValueError("this model has no source; pass prompts=…")
            found = self._complete(prompts, searched, limits)
        else:
            found = self._translate(sources, prompts, searched, limits)
        texts = [self._target.decode(each) for each in found]
        return texts if num_return_sequences > 1 else [one for (one,) in texts]

    def predict(self, sources: Sequence[Any]) -> list[Any]:
        """The text of each source, by `generate`.

        Raises:
            ValueError: If the model has no source, or as `generate`.
            TypeError: If `sources` is one string.
        """
        if self._source.kind is None:
            raise ValueError(
                "predict answers sources, and a language model has none; use generate(prompts=[…])"
            )
        return self.generate(sources)

    def check(self) -> None:
        """Generate once, so that a model that cannot run is not written."""
        sources = None if self._source.kind is None else [[4]]
        self.generate(sources, strategy="greedy", min_new_tokens=0, max_new_tokens=1)

    def _translate(
        self,
        sources: Sequence[Any] | None,
        prompts: Sequence[Any] | None,
        searched: Mapping[str, Any],
        limits: Mapping[str, int],
    ) -> list[list[list[int]]]:
        if sources is None:
            raise ValueError("expected a list of sources, got none; pass it first")
        encoded = self._source.encode(sources, "source")
        self._check_length("source", max(map(len, encoded), default=0))
        starts = self._prompts(prompts, len(encoded))
        names = self._tokens

        def translate(rows: Sequence[int], size: int) -> Sequence[Any]:
            found: Sequence[Any] = self.translator.translate_batch(
                [[names["source"][number] for number in encoded[row]] for row in rows],
                target_prefix=[[names["target"][i] for i in starts[row]] for row in rows],
                min_decoding_length=limits["min"] + size,
                max_decoding_length=limits["max"] + size,
                max_input_length=0,  # lengths are checked above; by default it cuts at 1,024
                **searched,
            )
            return [result.hypotheses for result in found]

        results = self._by_prompt_length(starts, limits["max"], translate)
        return [[self._to_ids(hypothesis) for hypothesis in texts] for texts in results]

    def _complete(
        self,
        prompts: Sequence[Any] | None,
        searched: Mapping[str, Any],
        limits: Mapping[str, int],
    ) -> list[list[list[int]]]:
        starts = self._prompts([[]] if prompts is None else prompts, None)
        names = self._tokens["target"]

        def complete(rows: Sequence[int], _size: int) -> Sequence[Any]:
            found: Sequence[Any] = self.translator.generate_batch(
                [[names[START], *(names[number] for number in starts[row])] for row in rows],
                min_length=limits["min"],
                max_length=limits["max"],
                include_prompt_in_result=False,
                **searched,
            )
            return [result.sequences for result in found]

        results = self._by_prompt_length(starts, limits["max"], complete)
        pairs = zip(starts, results, strict=True)
        return [[[*ids, *self._to_ids(text)] for text in texts] for ids, texts in pairs]

    def _by_prompt_length(
        self,
        starts: Sequence[Sequence[int]],
        most: int,
        answer: Callable[[Sequence[int], int], Sequence[Any]],
    ) -> list[Any]:
        """The answers to all rows, those with prompts of one length at a time."""
        results: dict[int, Any] = {}
        for size in sorted({len(ids) for ids in starts}):
            self._check_length("target", size + most)
            rows = [row for row, ids in enumerate(starts) if len(ids) == size]
            results |= dict(zip(rows, answer(rows, size), strict=True))
        return [results[row] for row in range(len(starts))]

    def _prompts(self, prompts: Sequence[Any] | None, count: int | None) -> list[list[int]]:
        if prompts is None:
            return [[] for _ in range(count or 0)]
        starts: list[list[int]] = self._target.encode(prompts, "prompt")
        if count is not None and len(starts) != count:
            raise ValueError(f"expected {count} prompts, one per source, got {len(starts)}")
        return starts

    def _to_ids(self, tokens: Sequence[str]) -> list[int]:
        ids = [self._ids[token] for token in tokens]
        return ids[:-1] if ids and ids[-1] == END else ids

    def _check_length(self, side: str, longest: int) -> None:
        limit = self.config["limits"].get(side)
        if limit is not None and longest > limit["tokens"]:
            raise ValueError(
                f"this model reads at most {limit['tokens']} tokens of a {side}, got {longest}; "
                f"{limit['advice']}"
            )
