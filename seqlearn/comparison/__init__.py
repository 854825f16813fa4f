"""Comparison of architectures: trains several models on one data module and reports what differs.

`compare` trains each model in a process of its own, at an equal number of parameters and, with a
budget, for an equal time. `Comparison` has the results as tables, as one HTML page, as Markdown and
as JSON.
"""

from seqlearn.comparison.comparing import compare
from seqlearn.comparison.results import Comparison

__all__ = ["Comparison", "compare"]
