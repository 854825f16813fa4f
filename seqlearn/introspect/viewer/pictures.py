"""Which of the classic pictures can be drawn of an example: that follows from what was heard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Picture = dict[str, Any]
"""Its `kind`, and the names of the modules that it shows."""

_LSTM = {"input", "forget", "output", "candidate", "cell"}
_GRU = {"reset", "update", "candidate"}


def pictures(example: Mapping[str, Any]) -> list[Picture]:
    """The pictures of one example, the most telling first.

    - `cross_attention_steps`: single-head cross-attention, with encoder and decoder states.
    - `multi_head_per_token`: all heads of one layer for one token; opens at the last decoder layer.
    - `context_vector`: encoder and decoder with one vector between them.
    - `gates`: an LSTM or a GRU from within.
    - `unrolled_rnn`: a recurrent layer rolled out in time.
    - `all_heads`: any attention, to look around in; opens where the target looks at the source.

    States are a recurrent layer's unless attention was heard inside the module that they are of:
    a Transformer's block answers with states as well.

    Args:
        example: As `payload` makes it.
    """
    attention = example["attention"]
    parents = [one["name"].rpartition(".")[0] for one in attention]
    recurrent = {
        one["name"]: one["time"]
        for one in example["states"]
        if one["time"] is not None
        and not any(p == one["name"] or p.startswith(one["name"] + ".") for p in parents)
    }
    source = [name for name, time in recurrent.items() if time == "source"]
    target = [name for name, time in recurrent.items() if time == "target"]
    found: list[Picture] = []
    for one, parent in zip(attention, parents, strict=True):
        single = len(one["heads"]) == 1 and one["axes"] == ["target", "source"]
        if single and source and target:
            answers = [state["name"] for state in example["states"] if state["name"] == parent]
            found.append(
                {
                    "kind": "cross_attention_steps",
                    "attention": one["name"],
                    "source": source[-1],
                    "target": target[-1],
                    "answer": answers[0] if answers else None,
                }
            )
    groups: dict[str, list[str]] = {}
    for one, parent in zip(attention, parents, strict=True):
        if len(one["heads"]) > 1 or one["axes"] != ["target", "source"]:
            groups.setdefault(parent or one["name"], []).append(one["name"])
    asked = {one["name"]: one["axes"][0] for one in attention}
    if groups:
        choices = [{"name": name, "attention": names} for name, names in groups.items()]
        answering = [one["name"] for one in choices if asked[one["attention"][0]] == "target"]
        opens = answering[-1] if answering else choices[0]["name"]
        found.append({"kind": "multi_head_per_token", "choices": choices, "opens": opens})
    vectors = [
        one["name"] for one in example["states"] if one["time"] is None and one["steps"] == 1
    ]
    if vectors and source and target:
        found.append(
            {
                "kind": "context_vector",
                "vector": vectors[0],
                "source": source[-1],
                "target": target[-1],
            }
        )
    gated = [one["name"] for one in example["gates"] if set(one["gates"]) in (_LSTM, _GRU)]
    if gated:
        found.append({"kind": "gates", "choices": gated})
    if recurrent:
        found.append({"kind": "unrolled_rnn", "choices": list(recurrent)})
    if attention:
        looking = [one["name"] for one in attention if one["axes"] == ["target", "source"]]
        found.append({"kind": "all_heads", "opens": (looking or [attention[0]["name"]])[-1]})
    return found
