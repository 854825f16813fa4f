"""Modules that are not ours, as modules of seqlearn."""
