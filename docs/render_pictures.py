"""Write the interactive pictures of the pages: the viewer, with a recording of a trained model.

    python docs/render_pictures.py

`docs/recordings/NAME.safetensors` is what a trained model did, and `models.json` beside it says
what the models are (`docs/record_models.py` makes both). Each of `PICTURES` becomes
`docs/pictures/NAME.html`, which a page includes.
"""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from seqlearn.introspect import Recording

DOCS = Path(__file__).resolve().parent
RECORDINGS, PAGES = DOCS / "recordings", DOCS / "pictures"


class Shown(NamedTuple):
    """One viewer on a page.

    Attributes:
        recording: The name of the recording.
        opens: The picture that is shown first.
        title: Its title.
    """

    recording: str
    opens: str
    title: str


PICTURES = {
    "home": Shown("attention", "cross_attention_steps", "A trained model translates. Press play."),
    "rnn": Shown("rnn", "unrolled_rnn", "A trained RNN, unrolled in time"),
    "rnn_cell": Shown("rnn", "rnn_cell", "The inside of its tanh cell"),
    "lstm": Shown("lstm", "lstm_chain", "A trained LSTM: a chain of cells, with their gates"),
    "lstm_cell": Shown("lstm", "gates", "Its cell state, step by step"),
    "gru": Shown("gru", "gates", "A trained GRU: its state and gates"),
    "seq2seq": Shown("lstm", "context_vector", "A trained encoder–decoder passes one vector"),
    "attention": Shown("attention", "all_states", "A trained encoder passes all of its states"),
    "attention_detail": Shown("attention", "cross_attention_steps", "Attention in detail"),
    "attention_general": Shown("attention", "any_attention", "Attention in general"),
    "transformer": Shown("transformer", "multi_head_per_token", "The heads of a trained model"),
    "transformer_head": Shown("transformer", "query_key_value", "One head: query, key, value"),
    "transformer_positions": Shown("transformer", "positions", "Its position encodings"),
}


def main() -> None:
    """Write all of them."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir()
    models = json.loads((RECORDINGS / "models.json").read_text(encoding="utf-8"))
    for name, shown in PICTURES.items():
        recording = Recording.load(RECORDINGS / f"{shown.recording}.safetensors")
        page = recording.to_html_fragment(title=shown.title, opens=shown.opens)
        page += f'<p class="under">{caption(models[shown.recording])}</p>\n'
        (PAGES / f"{name}.html").write_text(page, encoding="utf-8")


def caption(model: dict[str, Any]) -> str:
    """What was recorded: the model, how good it is, and its answer."""
    if model["data"] == "captions":
        learned = "the 29,000 captions of Multi30k"
        figure = f"BLEU {model['test_bleu_lowercase_tokenized']:.1f} on unseen captions"
    else:
        learned = "written-out dates"
        figure = f"{model['test_exact_match']:.1%} of unseen dates right"
    size = model["parameters"]
    counted = f"{size / 1e6:.1f} million" if size > 1e6 else f"{size:,}"
    says = "translates" if len(model["answer"]) > 2 else "finds the language of"
    text = (
        f"A recording of a real model ({model['model']}, {counted} parameters), which was trained "
        f"on {learned}: {figure}. It {says} “{model['source']}”: “{model['answer']}”."
    )
    return html.escape(text, quote=False)


if __name__ == "__main__":
    main()
