"""Sequence models for PyTorch Lightning, from the feed-forward network to the Transformer."""

from seqlearn import callbacks, data, export
from seqlearn.batch import Memory, SequenceBatch
from seqlearn.comparison import Comparison, compare
from seqlearn.core import AtomicCheckpointIO, BaseOptions, GenerationConfig, Recipe, SequenceModule
from seqlearn.instrumentation import probe
from seqlearn.introspect import Recording, record
from seqlearn.models import GRU, LSTM, RNN, AttentionSeq2Seq, FeedForward, Transformer
from seqlearn.spec import (
    AlignedSpec,
    CharacterTagsSpec,
    ClassesSpec,
    GeneratedSpec,
    MultiLabelSpec,
    SequenceSpec,
    SeriesSpec,
    SourceSpec,
    TagsSpec,
    TargetSpec,
    TextSpec,
    VectorSpec,
)
from seqlearn.version import __version__

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AlignedSpec",
    "AtomicCheckpointIO",
    "AttentionSeq2Seq",
    "BaseOptions",
    "CharacterTagsSpec",
    "ClassesSpec",
    "Comparison",
    "FeedForward",
    "GeneratedSpec",
    "GenerationConfig",
    "Memory",
    "MultiLabelSpec",
    "Recipe",
    "Recording",
    "SequenceBatch",
    "SequenceModule",
    "SequenceSpec",
    "SeriesSpec",
    "SourceSpec",
    "TagsSpec",
    "TargetSpec",
    "TextSpec",
    "Transformer",
    "VectorSpec",
    "__version__",
    "callbacks",
    "compare",
    "data",
    "export",
    "probe",
    "record",
]
