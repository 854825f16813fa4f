"""What goes into a model and what comes out of it: the `SequenceSpec`.

A spec is plain, immutable data. A data module answers with one (`data.spec`), every
`SequenceModule` takes one first, and a checkpoint carries it whole (tokenizers and labels
included), so that a trained model needs nothing else to answer raw text.
"""

from seqlearn.spec.classes import ClassesSpec
from seqlearn.spec.sequence import SequenceSpec, Side, task_of
from seqlearn.spec.text import TextSpec
from seqlearn.spec.vector import VectorSpec

__all__ = [
    "ClassesSpec",
    "SequenceSpec",
    "Side",
    "TextSpec",
    "VectorSpec",
    "task_of",
]
