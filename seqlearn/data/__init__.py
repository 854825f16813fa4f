"""The data module for all tasks, its field types and its sources."""

from seqlearn.data.column_encoders import ArrayEncoder, ColumnEncoder
from seqlearn.data.fields import Classes, Field, Text
from seqlearn.data.module import SequenceDataModule
from seqlearn.data.multi_label_field import MultiLabel
from seqlearn.data.series_field import Series
from seqlearn.data.sources.dates import Dates
from seqlearn.data.sources.labelled_text import LabelledText
from seqlearn.data.sources.multi30k import Multi30k
from seqlearn.data.sources.plain_text import PlainText
from seqlearn.data.sources.recall import Recall
from seqlearn.data.sources.sentences import Sentences
from seqlearn.data.sources.series_files import SeriesFiles
from seqlearn.data.sources.synthetic import Synthetic
from seqlearn.data.sources.tables import Stream
from seqlearn.data.sources.tagged_text import TaggedText
from seqlearn.data.sources.text_pairs import TextPairs
from seqlearn.data.sources.vectors import Vectors
from seqlearn.data.sources.waveforms import Waveforms
from seqlearn.data.tags_field import CharacterTags, Tags
from seqlearn.data.vector_field import Vector

__all__ = [
    "ArrayEncoder",
    "CharacterTags",
    "Classes",
    "ColumnEncoder",
    "Dates",
    "Field",
    "LabelledText",
    "Multi30k",
    "MultiLabel",
    "PlainText",
    "Recall",
    "Sentences",
    "SequenceDataModule",
    "Series",
    "SeriesFiles",
    "Stream",
    "Synthetic",
    "TaggedText",
    "Tags",
    "Text",
    "TextPairs",
    "Vector",
    "Vectors",
    "Waveforms",
]
