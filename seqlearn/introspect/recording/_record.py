"""`record`: capture the activations of a model, with the tokens that belong to them."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from seqlearn.instrumentation import add_listener
from seqlearn.introspect.recording.compile_stance import force_eager
from seqlearn.introspect.recording.kinds import BUILT_IN, KINDS, OF_ATTENTION
from seqlearn.introspect.recording.recorder import Recorder, RecordOptions
from seqlearn.introspect.recording.recording import Recording
from seqlearn.introspect.recording.torch_functions import capture_torch_attention

MAX_BYTES = 4 * 1024**3
"""The largest size of a recording, if `record` is given no other."""


@contextmanager
def record(
    model: nn.Module,
    what: Sequence[str] = BUILT_IN,
    *,
    modules: Sequence[str] | None = None,
    device: torch.device | str | None = "cpu",
    dtype: torch.dtype | None = None,
    top_k: int | None = None,
    max_bytes: int = MAX_BYTES,
) -> Iterator[Recording]:
    """Record attention weights, hidden states and gates of a model while the block runs.

        with sl.record(model) as recording:
            model.generate(["Sunday, November 22, 2026"])
        recording.attention["decoder.layers.3.cross_attention"]      # batch heads query key

    Everything is computed beside the fast kernels, whose outputs are kept: recording changes no
    output and no random state, and leaves nothing on the model. In training mode the weights are
    those before dropout. The recording is filled when the block ends without an exception.

    - Keys are names from `model.named_modules()` (the model itself is `""`), or the name passed to
      `sl.probe`. Modules outside of `model` are not recorded.
    - Attention is recorded for every module that reports it (seqlearn's own, and those that call
      `sl.probe`), and for every other module that calls `scaled_dot_product_attention` or
      `nn.MultiheadAttention`, also within `nn.Transformer` and Hugging Face models.
    - `generate` gives one row for each output, in the order of the caller: the steps of its best
      hypothesis, one for each decoder input. `score`, `classify` and a forward pass of a
      `SequenceModule` give one row for each example. Token names come from `model.spec`.
    - Other forward passes are concatenated along `batch`, padded with zeros in `query` and `key`.
    - Hugging Face's "eager" attention calls no attention function of torch and is not recorded:
      build such a model with `attn_implementation="sdpa"`. A block that captures nothing warns and
      says what to do.
    - Only the current thread is recorded; other threads are not affected. Compiled modules run
      uncompiled inside the block.

    Args:
        model: Any module.
        what: The kinds to record: `"attention"`, `"states"`, `"gates"`, those of
            `introspect.DETAILED`, such as `"scores"`, and those that you registered with
            `introspect.register_kind`.
        modules: Names of the modules to record, or patterns such as `"decoder.*.cross_attention"`;
            all, if `None`.
        device: The device of the recorded tensors; where they were computed, if `None`.
        dtype: The dtype of the recorded tensors; as computed, if `None`.
        top_k: Keep only this many of the largest attention weights of each row; all, if `None`.
        max_bytes: The largest size of the recording.

    Yields:
        The recording.

    Raises:
        ValueError: If `what` contains an unknown kind, `top_k` is below one, or the reported
            tensors cannot be combined.
        TypeError: If `modules` is one string, or `model` is no module.
        MemoryError: If the recording would be larger than `max_bytes`.

    Examples:
        >>> import seqlearn as sl
        >>> data = sl.data.Dates("en", "de")
        >>> model = sl.GRU(data.spec, d_model=4, num_layers=1)
        >>> with sl.record(model, what=["states"]) as recording:
        ...     _ = model.generate(["May 1, 2026"], max_new_tokens=2)
        >>> list(recording.states)
        ['encoder.layers.0', 'encoder.context', 'decoder.layers.0']
    """
    _check_kinds(what)
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
    with _recorded(model, options) as (recording, recorder):
        yield recording
    missing = "attention" in what and not recording.attention and eager_attention(model)
    if not recording.modules or missing:
        warnings.warn(nothing_captured(model, what, modules, recorder.filtered_out), stacklevel=3)


@contextmanager
def record_quietly(model: nn.Module, what: Sequence[str] = BUILT_IN) -> Iterator[Recording]:
    """`record` without its warning that nothing was captured.

    Filters of warnings are those of all threads, so they are no way to do that here.

    Yields:
        The recording, on the CPU.

    Raises:
        ValueError: If `what` contains an unknown kind.
    """
    _check_kinds(what)
    options = RecordOptions(frozenset(what), None, torch.device("cpu"), None, None, MAX_BYTES)
    with _recorded(model, options) as (recording, _):
        yield recording


@contextmanager
def _recorded(model: nn.Module, options: RecordOptions) -> Iterator[tuple[Recording, Recorder]]:
    """Record while the block runs; the recording is filled when it ends without an exception."""
    given: object = model
    if not isinstance(given, nn.Module):
        kind = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise TypeError(f"expected the model to record, a torch.nn.Module, got {kind}")
    recording, recorder = Recording(), Recorder(model, options)
    capture = capture_torch_attention(model) if OF_ATTENTION & options.what else nullcontext()
    with force_eager(), add_listener(recorder), capture:
        yield recording, recorder
    recorder.finalize(recording)


def _check_kinds(what: Sequence[str]) -> None:
    if isinstance(what, str) or not what or set(what) - set(KINDS):
        raise ValueError(
            f"expected what to be a tuple of names among {tuple(KINDS)}, got {what!r}; register a "
            "kind of your own with introspect.register_kind"
        )


def nothing_captured(
    model: nn.Module,
    what: Sequence[str] = BUILT_IN,
    modules: Sequence[str] | None = None,
    filtered_out: Collection[str] = (),
) -> str:
    """Say in one sentence why nothing was recorded and what to do.

    Args:
        model: The model.
        what: The kinds that were requested.
        modules: The patterns of names that were requested.
        filtered_out: Modules that reported something and match none of `modules`.
    """
    start = f"record() captured nothing from {type(model).__name__}: "
    if filtered_out:
        return (
            f"{start}no module that reported something matches modules={list(modules or ())}; "
            f"these did: {sorted(filtered_out)}"
        )
    if "attention" in what and (name := eager_attention(model)):
        return (
            f'{start}its attention ({name!r}) is Hugging Face\'s "eager" one, which calls no '
            'attention function of torch; build the model with attn_implementation="sdpa", or '
            'call set_attn_implementation("sdpa") on it'
        )
    kind = "attention" if "attention" in what else what[0]
    return (
        f"{start}no module that ran reported {' or '.join(KINDS[each].text for each in what)}; "
        "run the model inside the block, and report those of your own modules with "
        f'`sl.probe("name", {"weights" if kind == "attention" else kind}, "{kind}")`'
    )


def eager_attention(model: nn.Module) -> str | None:
    """The name of a Hugging Face module with "eager" attention, which cannot be recorded.

    The innermost such module is named; `None` if there is none.
    """
    found = None
    for name, module in model.named_modules():
        config = getattr(module, "config", None)
        if getattr(config, "_attn_implementation", None) == "eager":
            found = name
    return found
