"""The figure class of the library, which a notebook shows without `%matplotlib inline`."""

from __future__ import annotations

import io

from matplotlib.figure import Figure as MatplotlibFigure


class Figure(MatplotlibFigure):
    """A matplotlib figure that a notebook shows if it is the last value of a cell.

    Figures created without `pyplot` need not be closed, but without `%matplotlib inline` a notebook
    shows only `<Figure size …>` for them. This class renders itself.
    """

    def _repr_png_(self) -> bytes:
        """The image for IPython; `%matplotlib inline` replaces this method."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()
