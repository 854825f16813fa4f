"""Lightning callbacks that look inside a module while it trains."""

from seqlearn.callbacks.attention_monitor import AttentionMonitor as AttentionMonitor
