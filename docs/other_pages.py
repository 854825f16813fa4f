"""Pages that seqlearn writes and that are not part of the site, for `docs/check_site.py`."""

from __future__ import annotations

from pathlib import Path

import seqlearn as sl
from seqlearn.introspect import Recording

ROOT = Path(__file__).resolve().parent.parent
RECORDINGS, COMPARISON = ROOT / "docs" / "recordings", ROOT / ".cache" / "comparison"


def write_other_pages(folder: Path) -> list[Path]:
    """Write the viewer of each recording and the report of a comparison; give their paths.

    The first call trains the models of the comparison, for about a minute.
    """
    written = []
    for path in sorted(RECORDINGS.glob("*.safetensors")):
        recording = Recording.load(path)
        written.append(recording.to_html(folder / f"viewer-{path.stem}.html", title=path.stem))
    comparison = sl.compare(
        sl.data.Recall(4, train_examples=500, held_out_examples=100),
        ["LSTM", "Transformer"],
        parameters=10_000,
        seeds=[0, 1],
        trainer={"max_epochs": 2},
        directory=COMPARISON,
    )
    return [*written, comparison.to_html(folder / "report.html")]
