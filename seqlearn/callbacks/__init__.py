"""Lightning callbacks: monitor a module, write its predictions, stop a run at a signal."""

from seqlearn.callbacks.attention_monitor import AttentionMonitor as AttentionMonitor
from seqlearn.callbacks.checkpoint_average import CheckpointAverage as CheckpointAverage
from seqlearn.callbacks.confusion_matrix import ConfusionMatrix as ConfusionMatrix
from seqlearn.callbacks.figure_logger import FigureLogger as FigureLogger
from seqlearn.callbacks.generation_metrics import GenerationMetrics as GenerationMetrics
from seqlearn.callbacks.gradient_flow import GradientFlow as GradientFlow
from seqlearn.callbacks.interrupt import Interrupt as Interrupt
from seqlearn.callbacks.observer import Observer as Observer
from seqlearn.callbacks.prediction_writer import PredictionWriter as PredictionWriter
from seqlearn.callbacks.sample_logger import SampleLogger as SampleLogger
from seqlearn.callbacks.state_monitor import StateMonitor as StateMonitor
