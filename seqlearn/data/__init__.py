"""The data module that all shapes share, and its sources."""

from seqlearn.data.dates import Dates
from seqlearn.data.fields import Classes, Text, Vector
from seqlearn.data.module import SequenceDataModule
from seqlearn.data.multi30k import Multi30k
from seqlearn.data.recall import Recall
from seqlearn.data.synthetic import Synthetic
from seqlearn.data.text_pairs import TextPairs

__all__ = [
    "Classes",
    "Dates",
    "Multi30k",
    "Recall",
    "SequenceDataModule",
    "Synthetic",
    "Text",
    "TextPairs",
    "Vector",
]
