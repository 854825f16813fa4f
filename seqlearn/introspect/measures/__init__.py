"""Measures of attention, gates and gradients."""
