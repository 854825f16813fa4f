"""Runs an exported model: texts in, texts, labels or vectors out.

This file needs numpy and `tokenizers` alone, and `onnxruntime` for ONNX graphs; it imports nothing
of seqlearn or torch. Each exported folder holds a copy of it, so that a server needs neither:

    from runtime import ExportedModel     # in the folder, or with it on the path

    model = ExportedModel("exported")
    model.generate(["Ein Hund ."])

`python exported/runtime.py in.txt > out.txt` predicts one line for each line; a language model
continues each line.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqlearn.export.config_file import check_files, read_config
from seqlearn.export.onnx_runner import Array, Names, OnnxRunner, Runner
from seqlearn.export.options import search_options
from seqlearn.export.search import Search, batches
from seqlearn.export.sides import Side, answer_lines, read_lines

PAD, START = 0, 2


class ExportedModel:
    """A model in an exported folder.

    Args:
        folder: A folder that `seqlearn export` wrote.
        providers: Execution providers of onnxruntime; the CPU by default.
        threads: Threads of one operator; by default `OMP_NUM_THREADS`, or all cores.
        runners: Run the graphs by name instead of onnxruntime.

    Attributes:
        folder: The folder.
        config: The contents of `export.json`.

    Raises:
        FileNotFoundError: If the folder was not written by `seqlearn export`, or a file is missing.
        ValueError: If it has another format, or `export.json` is damaged.
        ModuleNotFoundError: If onnxruntime is not installed.

    Examples:
        >>> exported = ExportedModel("exported", threads=1)  # doctest: +SKIP
        >>> exported.generate(["3 1 4"], beam_size=4)  # doctest: +SKIP
        ['4 1 3']
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        providers: Names = (),
        threads: int = 0,
        runners: Mapping[str, Runner] | None = None,
    ) -> None:
        self.folder, self.config = Path(folder), read_config(folder)
        if runners is None and self.config["format"] != "onnx":
            raise ValueError(
                f"{folder}: expected ONNX graphs, got the format {self.config['format']!r}; use "
                "seqlearn.export.load_exported, which reads all formats"
            )
        self._spec = self.config["spec"]
        self._source, self._target = (Side(self._spec[name]) for name in ("source", "target"))
        self._graphs = self.config["graphs"]
        if runners is None:
            check_files(folder, [graph["file"] for graph in self._graphs.values()])
            threads = threads or default_threads()
            runners = {
                name: OnnxRunner(self.folder / graph["file"], providers, threads)
                for name, graph in self._graphs.items()
            }
        self._run = runners

    def generate(
        self,
        sources: Sequence[Any] | None = None,
        *,
        prompts: Sequence[Any] | None = None,
        num_return_sequences: int = 1,
        **options: Any,
    ) -> list[Any]:
        """Generate a text for each source, as `SequenceModule.generate` does.

        Args:
            sources: Texts, lists of ids or vectors; `None` for a language model.
            prompts: The first part of each text; it is returned too.
            num_return_sequences: Texts for each source, best first; above one with a beam.
            options: Those of `seqlearn.GenerationConfig`; by default those of the model. The
                strategies are `"greedy"` and `"beam"`.

        Returns:
            A text per source; a list of ids where there is no tokenizer; a list of texts with
            `num_return_sequences` above one.

        Raises:
            ValueError: If the target is not text, an option has no effect or is outside its range,
                or a source is longer than the model reads.
            TypeError: If `sources` is one string, or an option is unknown or not of its type.
        """
        if "decoder" not in self._graphs:
            raise ValueError("generate makes texts, and this model predicts; use predict(sources)")
        settings = search_options(self.config["generation"], options, num_return_sequences)
        encoded = self._encode_sources(sources, None if prompts is None else len(prompts))
        starts = [[START]] * len(encoded)
        if prompts is not None:
            starts = [[START, *ids] for ids in self._target.encode(prompts, "prompt")]
            if len(starts) != len(encoded):
                raise ValueError(
                    f"expected {len(encoded)} prompts, one per source, got {len(starts)}"
                )
        results: list[list[list[int]]] = [[] for _ in encoded]
        rows_each = settings["beam_size"] if settings["strategy"] == "beam" else 1
        for rows in batches(encoded, starts, rows_each, lengths=self._source.is_text):
            search = Search(self, [encoded[row] for row in rows], settings)
            prefix = np.array([starts[row] for row in rows])
            for row, found in zip(rows, search(prefix), strict=True):
                results[row] = [[*starts[row], *ids] for ids in found[:num_return_sequences]]
        texts = [self._target.decode(found) for found in results]
        return texts if num_return_sequences > 1 else [one for (one,) in texts]

    def classify(self, sources: Sequence[Any]) -> tuple[list[str], Array]:
        """The most probable label of each source, and the probabilities `source labels`.

        Raises:
            ValueError: If the target is not a class, or outputs are NaN or infinite.
        """
        if self._target.kind != "classes":
            raise ValueError(
                f"classify needs a target of classes, and this model's target is "
                f"{self._target.kind}; use predict(sources)"
            )
        logits = self._pooled_outputs(sources)
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        labels = self._spec["target"]["labels"]
        return [labels[each] for each in logits.argmax(-1)], powers / powers.sum(-1, keepdims=True)

    def predict(self, sources: Sequence[Any]) -> list[Any]:
        """The text, label or vector that the model predicts for each source.

        Vectors are in the units of the data, also where the model was trained on normalized ones;
        `outputs` has what the model computes.

        Raises:
            ValueError: If the model has no source, outputs are NaN or infinite, or as `generate`.
            TypeError: If `sources` is one string.
        """
        if self._source.kind is None:
            raise ValueError(
                "predict answers sources, and a language model has none; use generate(prompts=[…])"
            )
        if "decoder" in self._graphs:
            return self.generate(sources)
        if self._target.kind == "classes":
            return self.classify(sources)[0]
        return self._target.restore(self._pooled_outputs(sources))

    def outputs(
        self,
        sources: Sequence[Any] | None = None,
        targets: Sequence[Any] | None = None,
        *,
        head_mask: Mapping[str, Sequence[float]] | None = None,
    ) -> dict[str, Array]:
        """All outputs of both graphs for one batch, with what `record=` added at the export.

        Args:
            sources: As in `generate`.
            targets: Texts of one length in tokens, which the decoder reads after the start symbol
                in one step (with input feeding: none); by default it reads the start symbol.
            head_mask: Weights of the heads by the name of their attention, where the model was
                exported with `head_mask`; others are 1.

        Returns:
            The outputs by name; `logits` are those after the last token.

        Raises:
            ValueError: If there is no source, targets are not one for each source, of one length
                and for a decoder that reads them in one step, or `head_mask` names no attention.
            TypeError: If `sources` or `targets` is one string.
        """
        encoded = self._encode_sources(sources, None if targets is None else len(targets))
        if not encoded:
            raise ValueError("outputs needs at least one source or target, got none")
        tokens = self._read_targets(targets, len(encoded))
        masks = self._head_masks(head_mask or {})
        found: dict[str, Array] = {}
        if "encoder" in self._graphs:
            graph = self._graphs["encoder"]
            feed = self.collate(encoded) | masks.get("encoder", {})
            values = self._run["encoder"](feed, graph["outputs"])
            found = {
                name: self._run["encoder"].to_numpy(value)
                for name, value in zip(graph["outputs"], values, strict=True)
            }
        if "decoder" in self._graphs:
            graph = self._graphs["decoder"]
            feed = {"tokens": tokens, "parents": np.arange(len(tokens))[:, None]}
            feed |= self.initial_state(found, len(tokens)) | masks.get("decoder", {})
            feed |= {name: found[name] for name in graph["memory"]}
            values = self.step(feed, graph["outputs"])
            found |= {
                name: self._run["decoder"].to_numpy(value)
                for name, value in zip(graph["outputs"], values, strict=True)
            }
        return found

    # What a search calls

    def collate(self, encoded: Sequence[Any]) -> dict[str, Array]:
        """The inputs of the encoder for encoded sources."""
        if not self._source.is_text:
            return {"source": np.asarray(encoded, dtype=np.float32)}
        lengths = np.array([len(ids) for ids in encoded])
        padded = np.full((len(encoded), max(1, lengths.max())), PAD)
        for row, ids in enumerate(encoded):
            padded[row, : len(ids)] = ids
        return {"source": padded, "source_lengths": lengths}

    def encode(self, encoded: Sequence[Any]) -> dict[str, Any]:
        """What the decoder reads of these sources."""
        if "encoder" not in self._graphs:
            return {}
        read = self._graphs["decoder"]
        names = [*read["memory"], *read["given_states"]]
        feed = self.collate(encoded) | self._ones("encoder")
        return dict(zip(names, self._run["encoder"](feed, names), strict=True))

    def run_encoder(self, encoded: Sequence[Any], fetch: Names) -> list[Array]:
        """Outputs of the encoder for encoded sources, as arrays."""
        run = self._run["encoder"]
        found = run(self.collate(encoded) | self._ones("encoder"), fetch)
        return [run.to_numpy(each) for each in found]

    def initial_state(self, found: Mapping[str, Any], rows: int) -> dict[str, Any]:
        """The state before the first token: from the encoder, or zeros."""
        shapes = self._graphs["decoder"]["states"]
        return {
            name: found.get(name, np.zeros((rows, *shape), np.float32))
            for name, shape in shapes.items()
        }

    def step(self, feed: Mapping[str, Any], fetch: Names) -> list[Any]:
        """One step of the decoder."""
        return self._run["decoder"]({**self._ones("decoder"), **feed}, fetch)

    def choose(self, graph: str, feed: Mapping[str, Any]) -> list[Array]:
        """The most probable tokens by the graph `"next"`, or `"best"` with an input `count`."""
        run, outputs = self._run[graph], self._graphs[graph]["outputs"]
        return [run.to_numpy(each) for each in run(feed, outputs)]

    def to_numpy(self, value: Any) -> Array:
        """An output of a graph as an array."""
        return value if isinstance(value, np.ndarray) else self._run["decoder"].to_numpy(value)

    def _encode_sources(self, sources: Sequence[Any] | None, count: int | None) -> list[Any]:
        if self._source.kind is None:
            if sources is not None:
                raise ValueError("this model has no source; pass prompts=…")
            return [()] * (1 if count is None else count)
        if sources is None:
            raise ValueError("expected a list of sources, got none; pass it first")
        encoded = self._source.encode(sources, "source")
        self._check_lengths(encoded)
        return encoded

    def _read_targets(self, targets: Sequence[Any] | None, count: int) -> Array:
        """What the decoder reads in one step: `batch 1 time`."""
        if targets is None:
            return np.full((count, 1, 1), START)
        if "decoder" not in self._graphs:
            raise ValueError("this model has no decoder that reads targets; leave targets out")
        read = self._target.encode(targets, "target")
        if len(read) != count:
            raise ValueError(f"expected {count} targets, one per source, got {len(read)}")
        lengths = sorted({len(ids) for ids in read})
        if len(lengths) > 1:
            raise ValueError(
                f"expected targets of one length in tokens, got {lengths[0]} and {lengths[-1]}; "
                "pass those of each length on their own"
            )
        if self._graphs["decoder"]["one_token"] and lengths != [0]:
            raise ValueError(
                "this decoder feeds its outputs back (input feeding) and reads one token in a "
                "step; leave targets out"
            )
        limit = self.config["limits"].get("target")
        if limit is not None and lengths[0] >= limit["tokens"]:
            raise ValueError(
                f"expected at most {limit['tokens']} positions, got {lengths[0] + 1} with the "
                "start symbol; pass shorter targets"
            )
        return np.array([[START, *ids] for ids in read])[:, None]

    def _check_lengths(self, encoded: Sequence[Any]) -> None:
        limit = self.config["limits"].get("source")
        longest = max(map(len, encoded), default=0)
        if limit is None or longest <= limit["tokens"]:
            return
        message = (
            f"this model reads at most {limit['tokens']} tokens of a source, got {longest}; "
            f"{limit['advice']}"
        )
        if limit["is_error"]:
            raise ValueError(message)
        warnings.warn(message, stacklevel=4)

    def _pooled_outputs(self, sources: Sequence[Any]) -> Array:
        if "decoder" in self._graphs:
            raise ValueError("this model makes texts; use generate(sources)")
        encoded = self._encode_sources(sources, None)
        size = self.config["output_size"]
        found = np.zeros((len(encoded), size), np.float32)
        for rows in batches(encoded, [()] * len(encoded), 1, lengths=self._source.is_text):
            (found[rows],) = self.run_encoder([encoded[row] for row in rows], ["outputs"])
        # -∞ is the logit of a class that a module rules out; one class must be left.
        decisive = found.max(-1, keepdims=True) if self._target.kind == "classes" else found
        wrong = np.flatnonzero(~np.isfinite(decisive).all(-1))
        if len(wrong):
            raise ValueError(
                f"the model's outputs for source {wrong[0] + 1} of {len(found)} are NaN or "
                "infinite; use a checkpoint from before the training diverged, or check the source "
                "for very large numbers"
            )
        return found

    def _ones(self, half: str) -> dict[str, Array]:
        """The input `head_mask` that changes nothing, where there is one."""
        shape = self._graphs[half]["head_mask"]
        return (
            {}
            if shape is None
            else {"head_mask": np.ones((len(shape["names"]), shape["heads"]), np.float32)}
        )

    def _head_masks(self, given: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Array]]:
        masks = {half: self._ones(half) for half in self._graphs}
        places = {
            name: (half, row)
            for half in self._graphs
            for row, name in enumerate((self._graphs[half]["head_mask"] or {"names": []})["names"])
        }
        for name, weights in given.items():
            if name not in places:
                raise ValueError(
                    f"head_mask: expected names among {', '.join(places) or '(none)'}, got {name!r}"
                    + ("" if places else "; export with head_mask=True")
                )
            half, row = places[name]
            heads = self._graphs[half]["head_mask"]["heads"]
            if len(weights) != heads:
                raise ValueError(
                    f"head_mask: expected {heads} weights for {name}, one for each head, got "
                    f"{len(weights)}"
                )
            masks[half]["head_mask"][row] = weights
        return masks


def default_threads() -> int:
    """The first number of `OMP_NUM_THREADS`, which may be a list; 0, all cores, without one."""
    found = re.match(r"\s*(\d+)", os.environ.get("OMP_NUM_THREADS", ""))
    return int(found[1]) if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Predict one line for each line, in UTF-8.")
    parser.add_argument("file", nargs="?", type=Path, help="standard input if it is missing")
    file = parser.parse_args().file
    if file is not None and not file.is_file():
        parser.error(f"there is no file {file}")
    given = read_lines(sys.stdin.buffer.read() if file is None else file.read_bytes())
    model = ExportedModel(Path(__file__).parent)
    if model.config["spec"]["source"] is None:
        answers = answer_lines(lambda lines: model.generate(prompts=lines), given)
    else:
        answers = answer_lines(model.predict, given)
    for answer in answers:  # as `seqlearn generate` and `seqlearn translate`
        sys.stdout.buffer.write(f"{answer}\n".encode())
