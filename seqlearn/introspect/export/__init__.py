"""Recordings as files of other programs: BertViz, animated GIF."""
