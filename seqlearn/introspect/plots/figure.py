"""The figure that all pictures of the library are drawn on: a notebook shows it by itself."""

from __future__ import annotations

import io

from matplotlib.figure import Figure as MatplotlibFigure


class Figure(MatplotlibFigure):
    """A matplotlib figure that a notebook shows where a cell ends with it.

    Figures made without `pyplot` are not on its list, so nothing has to be closed; but a notebook
    then shows only `<Figure size …>`, unless `%matplotlib inline` was called. This one draws
    itself.
    """

    def _repr_png_(self) -> bytes:
        """The picture, for IPython; `%matplotlib inline` takes the place of this method."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
