"""Looking inside: record what a model attends to, measure it and draw it."""

from seqlearn.introspect.curves import distance_curve as distance_curve
from seqlearn.introspect.curves import gradient_curves as gradient_curves
from seqlearn.introspect.fused import fused_entropy as fused_entropy
from seqlearn.introspect.gradient import FlowVerdict as FlowVerdict
from seqlearn.introspect.gradient import flow_verdict as flow_verdict
from seqlearn.introspect.gradient import gradient_flow as gradient_flow
from seqlearn.introspect.labels import Tokens as Tokens
from seqlearn.introspect.measures import Saturation as Saturation
from seqlearn.introspect.measures import attended_distance as attended_distance
from seqlearn.introspect.measures import entropy as entropy
from seqlearn.introspect.measures import gate_saturation as gate_saturation
from seqlearn.introspect.measures import hard_alignment as hard_alignment
from seqlearn.introspect.measures import head_agreement as head_agreement
from seqlearn.introspect.measures import head_entropy as head_entropy
from seqlearn.introspect.measures import rollout as rollout
from seqlearn.introspect.measures import soft_alignment as soft_alignment
from seqlearn.introspect.plots import attention_heads as attention_heads
from seqlearn.introspect.plots import attention_map as attention_map
from seqlearn.introspect.record import record as record
from seqlearn.introspect.recording import Recording as Recording
from seqlearn.introspect.strips import state_strips as state_strips
