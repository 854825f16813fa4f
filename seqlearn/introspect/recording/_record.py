"""`record`: hear what the mechanisms of a model offer, and keep it with its tokens."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from seqlearn.instrumentation import add_listener
from seqlearn.introspect.recording.compile_stance import force_eager
from seqlearn.introspect.recording.recorder import Recorder, RecordOptions
from seqlearn.introspect.recording.recording import Recording
from seqlearn.introspect.recording.torch_functions import capture_torch_attention

KINDS = ("attention", "states", "gates")
"""What can be recorded."""


@contextmanager
def record(
    model: nn.Module,
    what: Sequence[str] = KINDS,
    *,
    modules: Sequence[str] | None = None,
    device: torch.device | str | None = "cpu",
    dtype: torch.dtype | None = None,
    top_k: int | None = None,
    max_bytes: int = 4 * 1024**3,
) -> Iterator[Recording]:
    """Record what a model attends to, its states and its gates, while the block runs.

        with sl.record(model) as recording:
            model.generate(["Sunday, November 22, 2026"])
        recording.attention["decoder.layers.3.cross_attention"]      # batch heads query key

    All is computed beside the fast kernels, whose outputs are kept: recording changes no output
    and no random state, and leaves nothing on the model. In training mode weights are those before
    dropout. The recording is filled when the block ends without an exception.

    - Keys are names from `model.named_modules()` (the model itself is `""`), or the name that was
      given to `sl.probe`. What modules outside `model` offer is not recorded.
    - Attention is heard of every module that offers it (seqlearn's own, and those that call
      `sl.probe`), and of every other module that calls `scaled_dot_product_attention` or
      `nn.MultiheadAttention`, also in `nn.Transformer` and Hugging Face's models.
    - `generate` gives one row for each output, in the caller's order: the history of its best
      hypothesis, one step for each token fed. `score`, `classify` and a forward call of a
      `SequenceModule` give one row for each example. Labels come from `model.spec`.
    - Other forward calls follow one another along `batch`, padded with zeros in `query` and `key`.
    - Hugging Face's "eager" attention calls no attention function of torch, and is not recorded:
      build such a model with `attn_implementation="sdpa"`. A block that captures nothing warns, and
      says what to do.
    - It hears this thread only: what the model does in other threads meanwhile is not recorded,
      and not disturbed. Compiled parts run uncompiled meanwhile.

    Args:
        model: Any module.
        what: Kinds to record, of `"attention"`, `"states"` and `"gates"`.
        modules: Names of the modules to record, or patterns such as `"decoder.*.cross_attention"`;
            all, if `None`.
        device: Where to keep what is heard; where it was computed, if `None`.
        dtype: In which type to keep it; as computed, if `None`.
        top_k: Keep only so many of the greatest weights of each row of attention; all, if `None`.
        max_bytes: The most that may be kept.

    Yields:
        The recording.

    Raises:
        ValueError: If `what` names something else, `top_k` is below one, or what was offered
            cannot be put together.
        MemoryError: If more than `max_bytes` would be kept.
    """
    if isinstance(what, str) or not what or set(what) - set(KINDS):
        raise ValueError(f"expected what to be a tuple of names among {KINDS}, got {what!r}")
    if isinstance(modules, str):
        raise TypeError(f"expected modules as a list of names, got one string; pass [{modules!r}]")
    if top_k is not None and top_k < 1:
        raise ValueError(f"expected a top_k of at least 1, got {top_k}")
    options = RecordOptions(
        frozenset(what),
        None if modules is None else tuple(modules),
        None if device is None else torch.device(device),
        dtype,
        top_k,
        max_bytes,
    )
    recording, recorder = Recording(), Recorder(model, options)
    elsewhere = capture_torch_attention(model) if "attention" in what else nullcontext()
    with force_eager(), add_listener(recorder), elsewhere:
        yield recording
    recorder.finalize(recording)
    empty = not (recording.attention or recording.states or recording.gates)
    missing = "attention" in what and not recording.attention and eager_attention(model)
    if empty or missing:
        warnings.warn(nothing_captured(model, what, modules, recorder.filtered_out), stacklevel=3)


def nothing_captured(
    model: nn.Module,
    what: Sequence[str] = KINDS,
    modules: Sequence[str] | None = None,
    filtered_out: Collection[str] = (),
) -> str:
    """Why nothing was recorded, and what to do, in one sentence.

    Args:
        model: The model.
        what: The kinds that were to be recorded.
        modules: The patterns of names that were to be recorded.
        filtered_out: Modules that reported something, and fit none of `modules`.
    """
    start = f"record() captured nothing from {type(model).__name__}: "
    if filtered_out:
        return (
            f"{start}no module that reported something fits modules={list(modules or ())}; these "
            f"did: {sorted(filtered_out)}"
        )
    if "attention" in what and (name := eager_attention(model)):
        return (
            f'{start}its attention ({name!r}) is Hugging Face\'s "eager" one, which calls no '
            'attention function of torch; build the model with attn_implementation="sdpa", or '
            'call set_attn_implementation("sdpa") on it'
        )
    kinds = {"attention": "attention weights", "states": "states", "gates": "gates"}
    kind = "attention" if "attention" in what else what[0]
    return (
        f"{start}no module of it that ran reported {' or '.join(kinds[each] for each in what)}; "
        "run the model inside the block, and report those of your own modules with "
        f'`sl.probe("name", {"weights" if kind == "attention" else kind}, "{kind}")`'
    )


def eager_attention(model: nn.Module) -> str | None:
    """The name of a module of Hugging Face's with "eager" attention, which cannot be recorded.

    The innermost such module is named; `None` if there is none.
    """
    found = None
    for name, module in model.named_modules():
        config = getattr(module, "config", None)
        if getattr(config, "_attn_implementation", None) == "eager":
            found = name
    return found
