"""`Exports`: writing a `SequenceModule` in another format."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from lightning.pytorch.utilities import rank_zero_warn
from torch import nn

from seqlearn.class_methods import is_overridden
from seqlearn.core.inference_precision import check_trainable
from seqlearn.core.sharding import is_sharded

Exporter = Callable[..., None]
"""Called as `exporter(module, path, **options)` with the options that `export` was given."""

_FORMATS: dict[str, Exporter] = {}
_ANSWERS = ("generate", "classify", "tag", "predict")


def register_format(name: str, exporter: Exporter) -> None:
    """Add a format to `SequenceModule.export` and `seqlearn export`.

    Args:
        name: The name of the format.
        exporter: Writes a module in it.

    Raises:
        ValueError: If another exporter has the name.

    Examples:
        >>> def write_weights(module, folder):
        ...     ...
        >>> register_format("my-format", write_weights)  # doctest: +SKIP
        >>> model.export("exported", "my-format")  # doctest: +SKIP
    """
    if _FORMATS.setdefault(name, exporter) is not exporter:
        raise ValueError(f"expected a new name of a format, got {name!r}, which exists")


def format_names() -> list[str]:
    """The names of all formats."""
    return list(_FORMATS)


class Exports:
    """The part of a module that writes it in other formats."""

    def export(
        self,
        path: str | os.PathLike[str],
        format: str = "onnx",  # noqa: A002 -- as in the command line
        **options: Any,
    ) -> Path:
        """Write the module as a folder that runs without it, for deployment.

        `seqlearn.export.load_exported(path)` runs the folder (but for `"page"`): it has `generate`
        with greedy and beam search, `classify` and `predict` for raw sources. The folder contains
        the tokenizers, labels and decoding options.

        The module is not changed. The result is checked against it before the folder replaces
        `path`.

        Args:
            path: A new or empty folder, or an earlier export, which is replaced.
            format: `"onnx"` and `"torch-export"` hold a graph of the encoder and one of a decoder
                step, for every architecture of seqlearn; `"ctranslate2"` is for the `Transformer`;
                `"page"` runs in a browser (see `to_page`).
            options: `record=("attention", "states", "gates")` adds these outputs to the graphs,
                `head_mask=True` an input that weights the heads of attention;
                `quantization="int8"` is for `"ctranslate2"`.

        Returns:
            The folder.

        Raises:
            ValueError: If there is no such format, the format does not support the module, or the
                result differs from the module.
            TypeError: If the format has no such option, or the decoder is not one of seqlearn's.
            FileExistsError: If the folder contains other files.
            ModuleNotFoundError: If a package of the extra `export` is not installed.
        """
        check_trainable(cast(nn.Module, self), "export")
        if is_sharded(cast(nn.Module, self)):
            raise ValueError(
                "export needs a whole module, and this one is sharded; call save_pretrained on all "
                "ranks, and export of from_pretrained(folder) in one process"
            )
        if format not in _FORMATS:
            names = ", ".join(map(repr, _FORMATS))
            raise ValueError(f"expected a format among {names}, got {format!r}")
        exporter = _FORMATS[format]
        known = inspect.signature(exporter).parameters
        if wrong := [name for name in options if name not in known]:
            names = ", ".join(list(known)[2:]) or "none"
            raise TypeError(f"format {format!r} has no option {wrong[0]}; its options: {names}")
        if own := [name for name in _ANSWERS if is_overridden(type(self), name)]:
            rank_zero_warn(
                f"{type(self).__name__} overrides {', '.join(own)}, which an export does not "
                "contain: it answers with encoder, decoder and the search of seqlearn"
            )
        exporter(self, path, **options)
        return Path(path)

    def to_page(
        self,
        path: str | os.PathLike[str],
        examples: Sequence[str],
        *,
        title: str | None = None,
        about: str | None = None,
        opens: str | None = None,
        runtime: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Write a page in which a reader runs the model: a folder for any static web server.

        The page asks for a text, answers with greedy search, and shows attention weights, states
        and gates of this very answer in the viewer; heads of attention can be switched off. It
        loads the model and the runtime (14 MB) on a click, and nothing from another host.

        Args:
            path: A new or empty folder, or an earlier export, which is replaced.
            examples: Texts to choose from; the page opens with the first.
            title: The title of the page; the name of the class by default.
            about: A sentence below the title; by default one that says how large the model is and
                what it reads.
            opens: The picture of the viewer that is shown first; see `Recording.to_html`.
            runtime: A folder with the two files of onnxruntime-web that the page needs; without it
                they are downloaded once.

        Returns:
            The folder.

        Raises:
            ValueError: If the model does not map a text to a text or a class, has a tokenizer that
                is not one of seqlearn's, there is no example, or the viewer has no such picture.
            TypeError: If the decoder is not one of seqlearn's.
            FileExistsError: If the folder contains other files.
            ConnectionError: If the runtime cannot be downloaded.
            ModuleNotFoundError: If a package of the extra `export` is not installed.

        Examples:
            ```python
            model.to_page("page", ["Sunday, November 22, 2026"], title="Dates")
            # then, for example: python -m http.server --directory page
            ```
        """
        return self.export(
            path,
            "page",
            examples=examples,
            title=title,
            about=about,
            opens=opens,
            runtime=runtime,
        )
