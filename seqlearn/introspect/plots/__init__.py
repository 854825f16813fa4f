"""Figures of attention, states and curves."""
