"""Introspection: record the activations of a model, measure them and draw them."""

from seqlearn.introspect.measures.attention import entropy as entropy
from seqlearn.introspect.measures.attention import hard_alignment as hard_alignment
from seqlearn.introspect.measures.attention import head_agreement as head_agreement
from seqlearn.introspect.measures.attention import head_entropy as head_entropy
from seqlearn.introspect.measures.attention import (
    mean_attention_distance as mean_attention_distance,
)
from seqlearn.introspect.measures.attention import rollout as rollout
from seqlearn.introspect.measures.attention import soft_alignment as soft_alignment
from seqlearn.introspect.measures.fused import fused_entropy as fused_entropy
from seqlearn.introspect.measures.gates import Saturation as Saturation
from seqlearn.introspect.measures.gates import gate_saturation as gate_saturation
from seqlearn.introspect.measures.gradient import GradientFlowClass as GradientFlowClass
from seqlearn.introspect.measures.gradient import classify_gradient_flow as classify_gradient_flow
from seqlearn.introspect.measures.gradient import gradient_flow as gradient_flow
from seqlearn.introspect.plots.attention import attention_heads as attention_heads
from seqlearn.introspect.plots.attention import attention_map as attention_map
from seqlearn.introspect.plots.confusion import confusion_heatmap as confusion_heatmap
from seqlearn.introspect.plots.curves import distance_curve as distance_curve
from seqlearn.introspect.plots.curves import gradient_curves as gradient_curves
from seqlearn.introspect.plots.heatmaps import state_heatmap as state_heatmap
from seqlearn.introspect.plots.labels import Tokens as Tokens
from seqlearn.introspect.recording._record import record as record
from seqlearn.introspect.recording.kinds import DETAILED as DETAILED
from seqlearn.introspect.recording.kinds import RecordedKind as RecordedKind
from seqlearn.introspect.recording.kinds import register_kind as register_kind
from seqlearn.introspect.recording.recording import Recording as Recording
from seqlearn.introspect.viewer.pictures import Picture as Picture
from seqlearn.introspect.viewer.pictures import register_picture as register_picture
