"""The data module that all shapes share, and its sources."""

from seqlearn.data.dates import Dates
from seqlearn.data.fields import Classes, Text, Vector
from seqlearn.data.labelled_text import LabelledText
from seqlearn.data.module import SequenceDataModule
from seqlearn.data.multi30k import Multi30k
from seqlearn.data.plain_text import PlainText
from seqlearn.data.recall import Recall
from seqlearn.data.synthetic import Synthetic
from seqlearn.data.text_pairs import TextPairs
from seqlearn.data.vectors import Vectors

__all__ = [
    "Classes",
    "Dates",
    "LabelledText",
    "Multi30k",
    "PlainText",
    "Recall",
    "SequenceDataModule",
    "Synthetic",
    "Text",
    "TextPairs",
    "Vector",
    "Vectors",
]
