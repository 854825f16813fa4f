"""Looking inside: record what a model attends to, measure it and draw it."""

from seqlearn.introspect.measures import entropy as entropy
from seqlearn.introspect.measures import head_entropy as head_entropy
from seqlearn.introspect.plots import attention_heads as attention_heads
from seqlearn.introspect.plots import attention_map as attention_map
from seqlearn.introspect.record import record as record
from seqlearn.introspect.recording import Recording as Recording
from seqlearn.introspect.recording import Tokens as Tokens
