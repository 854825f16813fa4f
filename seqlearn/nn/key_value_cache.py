"""The keys and values of earlier tokens: a row for each text, or a tree of prefixes for its beams.

In a beam search the beams of a source have most of their tokens in common. Each step adds a slot
for each beam to the source; a slot is a key and a value. Which slots a beam sees are its own tokens
and those of its ancestors:

    slots      a   b c   d e   f g           beams, after three steps
    parents        a a   b b   d d
    visible    1   1 0   1 0   1 0           a b d f
               1   1 0   1 0   0 1           a b d g

So reordered beams move no keys and values: only their lines of `visible` move. All queries of a
source are multiplied with all of its slots at once. When the allocated room is used up, slots that
no beam sees any more (c and e) are dropped.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seqlearn.nn.decoder_state import Beams

MIN_ROOM = 8
"""Number of steps, at least, for which room is allocated at once."""


class KeyValueCache:
    """Keys and values of earlier tokens; allocated ahead, and written in place.

    Args:
        key: Keys of the first tokens, `batch heads time d_head`.
        value: Their values, `batch heads time d_head`.
        visible: Of a tree, `sources beams slots`: which slots each beam sees. `None` if there is
            one row for each source, which sees all slots.
        slots: Number of slots in use; all by default.
        length: Number of tokens of each row; as many as slots by default.

    Attributes:
        length: Number of tokens of each row.

    Examples:
        >>> cache = KeyValueCache(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4))
        >>> keys, values, mask = cache.append(torch.ones(2, 1, 1, 4), torch.ones(2, 1, 1, 4))
        >>> keys.shape, mask, cache.length
        (torch.Size([2, 1, 4, 4]), None, 4)
    """

    def __init__(
        self,
        key: Tensor,
        value: Tensor,
        *,
        visible: Tensor | None = None,
        slots: int | None = None,
        length: int | None = None,
    ) -> None:
        self._key, self._value, self._visible = key, value, visible
        self._slots = key.shape[2] if slots is None else slots
        self.length = self._slots if length is None else length

    @property
    def key(self) -> Float[Tensor, "sources heads slots d_head"]:
        """The keys in use; slots are tokens if there is one row per source."""
        return self._key[:, :, : self._slots]

    @property
    def value(self) -> Float[Tensor, "sources heads slots d_head"]:
        """The values in use."""
        return self._value[:, :, : self._slots]

    def append(
        self,
        key: Float[Tensor, "rows heads time d_head"],
        value: Float[Tensor, "rows heads time d_head"],
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Add the keys and values of new tokens.

        Args:
            key: The keys; in a beam search `beams` adjacent rows for each source.
            value: The values.

        Returns:
            Keys and values of all tokens, `sources heads slots d_head`, and which of them each
            query sees, `sources 1 (beams time) slots`; `None` if each row sees all of its tokens.
        """
        time = key.shape[2]
        self.length += time
        if torch.compiler.is_exporting():
            self._key = torch.cat([self.key, key], 2)
            self._value = torch.cat([self.value, value], 2)
            self._slots += time
            return self._key, self._value, None
        beams = 1 if self._visible is None else self._visible.shape[1]
        if self._slots + beams * time > self._key.shape[2]:
            self._allocate(None, beams * time)
        start, self._slots = self._slots, self._slots + beams * time
        for kept, new in ((self._key, key), (self._value, value)):
            slots = torch.unflatten(kept[:, :, start : self._slots], 2, (beams, time))
            slots.copy_(torch.unflatten(new, 0, (-1, beams)).transpose(1, 2))
        return self.key, self.value, self._mask(start, time)

    def _mask(self, start: int, time: int) -> Bool[Tensor, "sources 1 queries slots"] | None:
        """Make the new slots visible to their own beams, each token to itself and later ones."""
        if self._visible is None:
            return None
        beams = self._visible.shape[1]
        own = torch.eye(beams, dtype=torch.bool, device=self._visible.device)
        self._visible[:, :, start : self._slots] = own.repeat_interleave(time, 1)
        visible = self._visible[:, :, : self._slots]
        if time == 1:
            return visible[:, None]
        mask = visible[:, :, None].repeat(1, 1, time, 1)
        causal = torch.ones(time, time, dtype=torch.bool, device=mask.device).tril()
        torch.unflatten(mask[..., start:], -1, (beams, time)).logical_and_(causal[:, None])
        return mask.flatten(1, 2)[:, None]

    def select(self, rows: Int[Tensor, " rows"]) -> KeyValueCache:
        """The cache of these rows, in this order and independent of this one.

        A row may come more than once. All keys and values are copied.
        """
        visible, sources = None, rows
        if self._visible is not None:
            sources = rows // self._visible.shape[1]
            visible = self._visible.flatten(0, 1)[rows][:, None]
        key, value = (part.index_select(0, sources) for part in (self._key, self._value))
        return KeyValueCache(key, value, visible=visible, slots=self._slots, length=self.length)

    def select_beams(self, beams: Beams) -> KeyValueCache:
        """The cache of the beams of a search; consumes this one.

        Keys and values are copied only if sources leave.
        """
        rows, sources = beams
        if self._visible is not None:
            visible = self._visible.flatten(0, 1).index_select(0, rows.flatten())
            self._visible = visible.view(*rows.shape, -1)
        elif rows.shape[1] > 1:
            shape = (*rows.shape, self._key.shape[2])
            self._visible = torch.zeros(shape, dtype=torch.bool, device=rows.device)
            self._visible[:, :, : self._slots] = True
        if sources is not None:
            self._allocate(sources, rows.shape[1])
        return self

    def by_row(
        self, weights: Float[Tensor, "sources heads queries slots"]
    ) -> Float[Tensor, "rows heads time length"]:
        """Attention weights of each row over its own tokens, from those over the slots."""
        assert self._visible is not None
        _, beams, _ = self._visible.shape
        order = self._own_slots()[:, :, None, None]
        rows = torch.unflatten(weights, 2, (beams, -1)).transpose(
            1, 2
        )  # sources beams heads time slots
        return rows.gather(-1, order.expand(*rows.shape[:-1], -1)).flatten(0, 1)

    def queries_by_row(
        self, queries: Float[Tensor, "sources heads queries d_head"]
    ) -> Float[Tensor, "rows heads time d_head"]:
        """The queries of each row, from those of the beams of each source."""
        assert self._visible is not None
        beams = self._visible.shape[1]
        return torch.unflatten(queries, 2, (beams, -1)).transpose(1, 2).flatten(0, 1)

    def slots_by_row(
        self, slots: Float[Tensor, "sources heads slots d_head"]
    ) -> Float[Tensor, "rows heads length d_head"]:
        """The keys or values of the tokens of each row, from those of the slots."""
        order = self._own_slots().flatten(0, 1)[:, None, :, None]
        assert self._visible is not None
        rows = slots.repeat_interleave(self._visible.shape[1], 0)
        return rows.gather(2, order.expand(-1, slots.shape[1], -1, slots.shape[3]))

    def _own_slots(self) -> Int[Tensor, "sources beams length"]:
        """The slots of the tokens of each beam, in order."""
        assert self._visible is not None
        visible = self._visible[:, :, : self._slots].to(torch.uint8)
        return visible.argsort(dim=-1, descending=True, stable=True)[:, :, : self.length]

    def _allocate(self, sources: Tensor | None, added: int) -> None:
        """Move the slots in use to a new allocation, with room for `added` slots and more.

        Args:
            sources: The sources that stay, to which `_visible` already belongs; `None` if all do.
            added: Slots that are needed now.
        """
        kept, slots = self._kept_slots()
        room = max(added, MIN_ROOM * (1 if self._visible is None else self._visible.shape[1]))
        capacity = slots + max(room, slots // 2)
        index = kept.new_zeros(len(kept), capacity)  # unused slots hold any numbers
        index[:, :slots] = kept
        if sources is None:
            sources = torch.arange(len(self._key), device=kept.device)
        heads = torch.arange(self._key.shape[1], device=kept.device)
        lines = sources[:, None] * len(heads) + heads
        flat = lines[:, :, None] * self._key.shape[2] + index[:, None]
        if self._visible is not None:
            used = self._visible.gather(2, index[:, None].expand(-1, self._visible.shape[1], -1))
            used[:, :, slots:] = False
            self._visible = used
        self._key, self._value = (
            part.reshape(-1, part.shape[3])
            .index_select(0, flat.flatten())
            .view(*flat.shape, part.shape[3])
            for part in (self._key, self._value)
        )
        self._slots = slots

    def _kept_slots(self) -> tuple[Int[Tensor, "sources_or_1 slots"], int]:
        """For each source the slots that some beam sees, in order; and their largest number."""
        if self._visible is None:
            return torch.arange(self._slots, device=self._key.device)[None], self._slots
        seen = self._visible[:, :, : self._slots].any(1)
        slots = int(seen.sum(1).max())
        order = seen.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
        return order[:, :slots], slots
