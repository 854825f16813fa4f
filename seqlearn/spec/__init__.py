"""What goes into a model and what comes out of it: the `SequenceSpec`.

A spec is plain, immutable data. A data module answers with one (`data.spec`), every
`SequenceModule` takes one first, and a checkpoint carries it whole (tokenizers and labels
included), so that a trained model needs nothing else to answer raw text.
"""

from seqlearn.spec.classes import ClassesSpec
from seqlearn.spec.sequence import SequenceSpec, Side, shape_of
from seqlearn.spec.text import TextSpec
from seqlearn.spec.vector import VectorSpec
from seqlearn.special_tokens import END, PAD, SPECIAL_TOKENS, START, UNKNOWN

__all__ = [
    "END",
    "PAD",
    "SPECIAL_TOKENS",
    "START",
    "UNKNOWN",
    "ClassesSpec",
    "SequenceSpec",
    "Side",
    "TextSpec",
    "VectorSpec",
    "shape_of",
]
