"""Pretrained tokenizers with other special tokens: their ids are remapped.

Every vocabulary in seqlearn begins with padding, unknown, start and end. A pretrained
`tokenizer.json` (GPT-2, BERT, T5) has them at other ids, or not at all. Its definition is rewritten
so that its padding, unknown, start and end tokens have the ids 0 to 3. Missing ones are added, and
all other tokens follow in their old order. The segmentation of texts does not change.
"""

from __future__ import annotations

import re
from typing import Any

from seqlearn.batch import END, SPECIAL_TOKENS, START, UNKNOWN

RESERVED = tuple(f"\0{token}" for token in SPECIAL_TOKENS)
"""The four special tokens in a rewritten vocabulary: prefixed by a null character, so that "<s>" in
a text is not encoded as a special token."""

_NAMES = (  # possible names of padding, unknown, start and end, without brackets
    ("pad",),
    ("unk", "unknown"),
    ("s", "bos", "sos", "cls", "start", "startoftext", "beginoftext", "begin_of_text"),
    ("/s", "eos", "sep", "end", "endoftext", "end_of_text"),
)
_SURROUNDED = re.compile(r"[\[<(|▁｜]+(.+?)[\]>)|▁｜]+")


def reserve_ids(settings: dict[str, Any]) -> dict[str, Any]:
    """Rewrite the JSON of a tokenizer so that ids 0 to 3 are padding, unknown, start and end.

    Args:
        settings: The JSON as `Tokenizer.to_str` writes it; modified in place.

    Returns:
        The JSON with the new ids. The tokenizer's own special tokens of these four kinds are no
        longer matched in texts; its other added tokens still are.
    """
    model = settings["model"]
    ids = _model_ids(model)
    added = settings["added_tokens"]
    roles = _roles(model, added, ids, settings.get("post_processor"))
    taken = {token for token in roles if token is not None}
    left = [token for token in sorted(ids, key=ids.__getitem__) if token not in taken]
    outside = sorted(
        (one for one in added if one["content"] not in ids and one["content"] not in taken),
        key=lambda one: int(one["id"]),
    )
    new = {token: number for number, token in enumerate((*RESERVED, *left))}
    _rewrite(model, new, roles)
    unknown = {"type": "Replace", "pattern": {"String": RESERVED[UNKNOWN]}, "content": "<unk>"}
    spaces = {"type": "WordPiece", "prefix": "\0", "cleanup": False}  # the effect of no decoder
    decoder = settings["decoder"] or spaces
    settings["decoder"] = {"type": "Sequence", "decoders": [unknown, decoder]}
    for number, one in enumerate(outside, start=len(new)):
        one["id"] = number
    inside = [one for one in added if one["content"] in left]
    for one in inside:
        one["id"] = new[one["content"]]
    settings["added_tokens"] = sorted(inside, key=lambda one: int(one["id"])) + outside
    return settings


def _model_ids(model: dict[str, Any]) -> dict[str, int]:
    """The ids of the model's own vocabulary."""
    if model["type"] == "Unigram":
        return {piece: number for number, (piece, _) in enumerate(model["vocab"])}
    return dict(model["vocab"])


def _roles(
    model: dict[str, Any], added: list[dict[str, Any]], ids: dict[str, int], template: Any
) -> list[str | None]:
    """The tokenizer's own padding, unknown, start and end; `None` for missing ones."""
    special = [one["content"] for one in added if one["special"]]
    roles: list[str | None] = []
    for names in _NAMES:
        found = (name for wanted in names for name in special if _bare(name) == wanted)
        roles.append(next(found, None))
    unknown = model.get("unk_token")
    if model["type"] == "Unigram" and model.get("unk_id") is not None:
        unknown = next(piece for piece, number in ids.items() if number == model["unk_id"])
    if unknown in ids:
        roles[UNKNOWN] = unknown
    for role, token in zip((START, END), _framing(template), strict=True):
        roles[role] = token or roles[role]
    # A token with several roles, such as GPT-2's <|endoftext|>, gets the last of them.
    return [None if token in roles[role + 1 :] else token for role, token in enumerate(roles)]


def _framing(template: Any) -> tuple[str | None, str | None]:
    """The tokens that the tokenizer's template puts before and after a text."""
    if not isinstance(template, dict):
        return None, None
    if "cls" in template and "sep" in template:
        return template["cls"][0], template["sep"][0]
    if template.get("type") == "Sequence":
        found = [_framing(one) for one in template.get("processors", [])]
        return next((one for one in found if any(one)), (None, None))
    pieces = template.get("single") or []
    text = next((at for at, piece in enumerate(pieces) if "Sequence" in piece), len(pieces))
    special = [piece.get("SpecialToken", {}).get("id") for piece in pieces]
    before, after = special[:text], special[text + 1 :]
    return (before[0] if before else None), (after[-1] if after else None)


def _bare(name: str) -> str:
    """The name of a special token without its brackets, in lower case."""
    match = _SURROUNDED.fullmatch(name)
    return (match.group(1) if match else name).lower()


def _rewrite(model: dict[str, Any], new: dict[str, int], roles: list[str | None]) -> None:
    """Give a model the new vocabulary."""
    if model["type"] == "Unigram":
        scores = dict(model["vocab"])
        lowest = min(scores.values(), default=0.0)
        for name, old in zip(RESERVED, roles, strict=True):
            scores[name] = scores.get(old, lowest) if old is not None else lowest
        model["vocab"] = [[piece, scores[piece]] for piece in new]
        model["unk_id"] = UNKNOWN
        return
    model["vocab"] = new
    model["unk_token"] = RESERVED[UNKNOWN]
    if model["type"] == "BPE":
        model["dropout"] = None
