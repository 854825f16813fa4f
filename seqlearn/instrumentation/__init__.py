"""Hooks for recording internal activations.

Modules in `seqlearn.nn` call `emit(kind, module, fn)`, where `fn` computes attention weights,
states or gates. Decoding reports how beams are reordered (`generation`, `decoding_step`). With no
listener active, `emit` returns at once and `fn` is never called. It imports nothing of seqlearn.
"""

from seqlearn.instrumentation.activations import (
    add_kind,
    beams_as_queries,
    emit,
    probe,
    time_loop,
)
from seqlearn.instrumentation.decoding_steps import (
    decoding_step,
    end_decoding,
    end_teacher_forcing,
    generation,
    report_answers,
)
from seqlearn.instrumentation.listeners import (
    Activation,
    ActivationListener,
    Axes,
    Axis,
    GenerationResult,
    active_listeners,
    add_listener,
    muted,
)

__all__ = [
    "Activation",
    "ActivationListener",
    "Axes",
    "Axis",
    "GenerationResult",
    "active_listeners",
    "add_kind",
    "add_listener",
    "beams_as_queries",
    "decoding_step",
    "emit",
    "end_decoding",
    "end_teacher_forcing",
    "generation",
    "muted",
    "probe",
    "report_answers",
    "time_loop",
]
