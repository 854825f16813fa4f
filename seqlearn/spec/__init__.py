"""The types of source and target, and both together: the `SequenceSpec`.

A spec is plain, immutable data. A data module makes one (`data.spec`), every `SequenceModule` takes
one as its first argument, and every checkpoint contains it, with tokenizers and labels, so that a
trained model reads raw text without the data module.
"""

from seqlearn.spec.aligned import AlignedSpec, WordSource
from seqlearn.spec.base import (
    GeneratedSpec,
    RowFormat,
    SideSpec,
    SourceSpec,
    TargetLoss,
    TargetSpec,
)
from seqlearn.spec.classes import ClassesSpec
from seqlearn.spec.multi_label import MultiLabelSpec
from seqlearn.spec.sequence import SequenceSpec, Side, task_of
from seqlearn.spec.series import SeriesSpec
from seqlearn.spec.tags import CharacterTagsSpec, TagsSpec
from seqlearn.spec.text import TextSpec
from seqlearn.spec.vector import VectorSpec

__all__ = [
    "AlignedSpec",
    "CharacterTagsSpec",
    "ClassesSpec",
    "GeneratedSpec",
    "MultiLabelSpec",
    "RowFormat",
    "SequenceSpec",
    "SeriesSpec",
    "Side",
    "SideSpec",
    "SourceSpec",
    "TagsSpec",
    "TargetLoss",
    "TargetSpec",
    "TextSpec",
    "VectorSpec",
    "WordSource",
    "task_of",
]
