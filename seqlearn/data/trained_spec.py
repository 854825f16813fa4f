"""`TakesSpec`: data that uses the vocabulary, labels and scaling of a trained model."""

from __future__ import annotations

from typing import Any

from seqlearn.data.fields import Field
from seqlearn.data.plain_arguments import PlainArguments
from seqlearn.spec import SequenceSpec


class TakesSpec(PlainArguments):
    """The part of a data module that takes over what a model has learned of other data."""

    source: Field | None
    target: Field
    _prepared: Any

    def use_spec(self, spec: SequenceSpec, *, source: bool = True, target: bool = True) -> None:
        """Use a trained model's tokenizers, labels and scaling instead of learning new ones.

        Call it before the data is used. Then `trainer.fit(model, data)` continues to train the
        model on other data; with `target=False`, a new module of `data.spec` gets the weights of
        its source from `load_parts`.

        Args:
            spec: The spec of the model.
            source: Whether to take over the source.
            target: Whether to take over the target.

        Raises:
            ValueError: If a side is of another type, or the data is prepared already; the message
                names the side.

        Examples:
            >>> from seqlearn.data import LabelledText, TextPairs
            >>> first = TextPairs([("one", "eins"), ("two", "zwei")])
            >>> second = LabelledText([("two one", "a"), ("one", "b")])
            >>> second.use_spec(first.spec, target=False)
            >>> second.spec.source.tokenizer == first.spec.source.tokenizer
            True
        """
        if self._prepared is not None:
            raise ValueError("call use_spec before the data is prepared, such as by data.spec")
        chosen: dict[str, Any] = {}
        for name, wanted in (("source", source), ("target", target)):
            field, side = getattr(self, name), getattr(spec, name)
            if not wanted or (field is None and side is None):
                continue
            if field is None or not isinstance(side, field.spec_type):
                raise ValueError(
                    f"{name}: expected the type of this data, {field!r}, got {side}; pass "
                    f"{name}=False to learn it from this data"
                )
            try:
                chosen[name] = field.with_spec(side)
            except ValueError as error:
                raise ValueError(
                    f"{name}: {error}; pass {name}=False to learn it from this data"
                ) from error
        if spec.joint_vocabulary and len(chosen) == 2:
            chosen["target"] = chosen["source"]
        for name, field in chosen.items():
            setattr(self, name, field)
