"""Reporting how outputs are generated: the steps, their beams, and the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor

from seqlearn.instrumentation.listeners import LISTENERS, GenerationResult

_NOTHING: AbstractContextManager[None] = nullcontext()


def generation(
    outputs: Sequence[int], total: int, source: Tensor | None, source_lengths: Tensor | None
) -> AbstractContextManager[None]:
    """Report a generation, or a teacher-forced forward pass, to all listeners.

    The sources are encoded within the block. `decoding_step` reports each step, and `end_decoding`
    (or `end_teacher_forcing`) the result; the listeners receive it when the block ends. If an
    exception ends the block, they receive `None`. A block within a block belongs to the outer one.

    Args:
        outputs: Position of each row's output among all outputs of the call.
        total: Outputs of the whole call, which may be divided into several generations.
        source: Source ids or vectors, `batch …`; `None` without a source.
        source_lengths: Tokens in each source, `batch`, where it is ids.

    Raises:
        RuntimeError: At the end of the block, if a listener is active and no result was reported.
        ValueError: At the end of the block, if the result has another number of outputs.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> from seqlearn.instrumentation import emit
        >>> with sl.record(torch.nn.Identity()) as recording, generation([0], 1, None, None):
        ...     for _ in range(2):
        ...         decoding_step(None)  # no row has moved
        ...         emit("states", "mine", torch.ones(1, 1, 3), axes=("target",))
        ...     end_decoding([[(1, 0)]], [[2, 7, 8]])
        >>> recording.states["mine"].shape
        torch.Size([1, 2, 3])
    """
    if not LISTENERS.active or LISTENERS.in_generation:
        return _NOTHING
    return _generation(outputs, total, source, source_lengths)


@contextmanager
def _generation(
    outputs: Sequence[int], total: int, source: Tensor | None, source_lengths: Tensor | None
) -> Iterator[None]:
    listeners, outer = LISTENERS.active, LISTENERS.result
    LISTENERS.result, LISTENERS.in_generation = None, True
    for listener in listeners:
        listener.generation_start(outputs, total, source, source_lengths)
    try:
        yield
        _check_result(LISTENERS.result, len(outputs))
    except BaseException:
        LISTENERS.result = None
        raise
    finally:
        result, LISTENERS.result = LISTENERS.result, outer
        LISTENERS.in_generation = False
        for listener in listeners:
            listener.generation_end(result)


def _check_result(result: GenerationResult | None, num_outputs: int) -> None:
    if result is None:
        raise RuntimeError(
            "the decoding strategy reports no steps, so what it generates cannot be recorded; in "
            "it, call seqlearn.instrumentation.decoding_step(parents) before each step and "
            "end_decoding(beam_paths, tokens) after the last one, or generate outside of record()"
        )
    paths, tokens = len(result.beam_paths), len(result.tokens)
    if (paths, tokens) != (num_outputs, num_outputs):
        raise ValueError(
            f"end_decoding: expected {num_outputs} beam_paths and tokens, got {paths} and {tokens}"
        )


def decoding_step(parents: Tensor | None) -> None:
    """Report the start of a step, `parents` as in `ActivationListener.decoding_step`: `rows`.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> from seqlearn.instrumentation import emit
        >>> with sl.record(torch.nn.Identity()) as recording, generation([0], 1, None, None):
        ...     for parents in (None, torch.tensor([1, 0])):  # then rows swap
        ...         decoding_step(parents)
        ...         emit("states", "mine", torch.tensor([[[1.0]], [[2.0]]]), axes=("target",))
        ...     end_decoding([[(1, 0)]], [[2, 7, 8]])
        >>> recording.states["mine"].flatten().tolist()  # row 1, then row 0
        [2.0, 1.0]
    """
    for listener in LISTENERS.active:
        listener.decoding_step(parents)


def end_decoding(
    beam_paths: Sequence[Sequence[tuple[int, int]]], tokens: Sequence[Sequence[int]]
) -> None:
    """Report the result of the current `generation`; see `GenerationResult` for the arguments.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> from seqlearn.instrumentation import emit
        >>> with sl.record(torch.nn.Identity()) as recording, generation([0], 1, None, None):
        ...     decoding_step(None)
        ...     emit("states", "mine", torch.tensor([[[1.0]], [[2.0]]]), axes=("target",))
        ...     end_decoding([[(0, 1), (0, 0)]], [[2, 7]])
        >>> recording.states["mine"].flatten().tolist()  # row 1 is the best hypothesis
        [2.0]
    """
    LISTENERS.result = GenerationResult(beam_paths, tokens)


def report_answers(answers: Sequence[str]) -> None:
    """Add what a model without a decoder predicts, as texts, to the result of a `generation`."""
    if LISTENERS.result is not None:
        LISTENERS.result = LISTENERS.result._replace(answers=answers)


def end_teacher_forcing(
    rows: int, target: Tensor | None = None, lengths: Tensor | None = None
) -> None:
    """Report the result of a teacher-forced forward pass, which is one step.

    Args:
        rows: Number of outputs.
        target: Target ids `rows time`, the first decoder input first; `None` if there was no step.
        lengths: Tokens in each target, `rows`; `None` if no target is padded.

    Examples:
        >>> import torch
        >>> import seqlearn as sl
        >>> from seqlearn.instrumentation import emit
        >>> with sl.record(torch.nn.Identity()) as recording, generation([0], 1, None, None):
        ...     decoding_step(None)
        ...     emit("states", "mine", torch.ones(1, 2, 3), axes=("target",))
        ...     end_teacher_forcing(1, target=torch.tensor([[2, 7]]))
        >>> recording.mask("target").tolist()
        [[True, True]]
    """
    if not LISTENERS.active:
        return
    if target is None:
        end_decoding([[]] * rows, [[]] * rows)
        return
    sizes = [target.shape[1]] * rows if lengths is None else lengths.tolist()
    ids = [row[:size] for row, size in zip(target.tolist(), sizes, strict=True)]
    end_decoding([[(0, row)] for row in range(rows)], ids)
