"""The two graphs of an exported module: the encoder, and one step of the decoder.

Both take and return lists of tensors, whose names and dynamic sizes stand beside them. The decoder
reads what the encoder returns under the same name; its states are returned as `new.NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from seqlearn.core import SequenceModule
from seqlearn.export.steps import Step, make_step
from seqlearn.export.traceable import traceable_copy
from seqlearn.instrumentation import Activation, Axes, add_listener
from seqlearn.nn import MultiHeadAttention
from seqlearn.plain_data import check_flag

RECORDED = ("attention", "states", "gates")
"""What a graph can return besides its outputs, as `sl.record` names it."""

HEAD_MASK = "head_mask"
NAME = "name_in_recordings"


@dataclass(frozen=True)
class Port:
    """An input of a graph.

    Attributes:
        name: Its name.
        example: A tensor of its type, which the trace runs on.
        sizes: The name of each axis; an int is a fixed size.
    """

    name: str
    example: Tensor
    sizes: tuple[str | int, ...]


class Graph(nn.Module):
    """A graph: a function from a list of tensors to a list of tensors.

    Args:
        module: The traceable copy.
        half: `"encoder"` or `"decoder"`, the part of the module whose recordings it returns.
        ports: Its inputs.
        record: The kinds that it also returns; see `RECORDED`.
        head_mask: Whether it has an input that weights heads.

    Attributes:
        masked: Names of the attentions whose heads the input `head_mask` weights, in the order of
            its rows; `None` without this input.
    """

    def __init__(
        self,
        module: SequenceModule,
        half: str,
        ports: Sequence[Port],
        record: Sequence[str],
        *,
        head_mask: bool,
    ) -> None:
        super().__init__()
        self.module, self._record, self.name = module, tuple(record), half
        self.ports = list(ports)
        self._returned = _Returned()
        self.masked: list[str] | None = None
        for name, part in module.named_modules():
            part.__dict__[NAME] = name  # a trace sees other objects in place of the parts
        if head_mask:
            self._add_head_mask(half)

    def compute(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name."""
        raise NotImplementedError

    def forward(self, tensors: list[Tensor]) -> list[Tensor]:
        """The outputs in the order of `outputs`, for inputs in the order of `ports`."""
        given = {port.name: each for port, each in zip(self.ports, tensors, strict=True)}
        if self.masked is not None:
            self._weights[:] = given[HEAD_MASK].unbind(0)
        listener = _Collector(self._record)
        with add_listener(listener):
            found = self.compute(given)
        if self.masked is not None:
            self._weights.clear()
        found |= listener.found
        self._returned.names = list(found)
        return list(found.values())

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs; empty before the first call or trace."""
        return self._returned.names

    def dynamic_shapes(self) -> Any:
        """The axes that vary, as `torch.export.export` takes them; one size for equal names."""
        dims: dict[str, Any] = {}
        shapes = []
        for port in self.ports:
            named = {axis: name for axis, name in enumerate(port.sizes) if isinstance(name, str)}
            shapes.append({axis: dims.setdefault(n, Dim(n)) for axis, n in named.items()})
        return (shapes,)

    def _add_head_mask(self, half: str) -> None:
        attentions = {
            name: part
            for name, part in self.module.named_modules()
            if type(part) is MultiHeadAttention and name.startswith(half) and _is_used(self, name)
        }
        if not attentions:
            return
        heads = {part.num_heads for part in attentions.values()}
        if len(heads) > 1:
            raise ValueError(f"head_mask needs the same number of heads everywhere, got {heads}")
        self.masked = list(attentions)
        self._weights: list[Tensor] = []
        for number, part in enumerate(attentions.values()):
            part.output.register_forward_pre_hook(_weight_heads(self._weights, number))
        example = torch.ones(len(attentions), *heads)
        self.ports.append(Port(HEAD_MASK, example, tuple(example.shape)))


class _Returned:
    """What a graph returned; a trace takes back what it assigns to the graph itself."""

    def __init__(self) -> None:
        self.names: list[str] = []


def _is_used(graph: Graph, name: str) -> bool:
    """Whether an attention is used: that to the source is not without a source."""
    return graph.module.spec.source is not None or not name.endswith("cross_attention")


def _weight_heads(weights: list[Tensor], number: int) -> Callable[..., Tensor]:
    """A hook before `MultiHeadAttention.output`: multiply what each head found by its weight."""

    def hook(_output: nn.Module, arguments: tuple[Tensor]) -> Tensor:
        (heads,) = arguments
        if not weights:  # another graph computes
            return heads
        weight = weights[number]
        each = heads.shape[-1] // weight.shape[0]
        return heads * weight[:, None].expand(-1, each).flatten()

    return hook


class _Collector:
    """Collects what the parts of a module emit, under the names that recordings have."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = kinds
        self.found: dict[str, Tensor] = {}

    def on_activation(
        self,
        kind: str,
        owner: nn.Module | str,
        make: Callable[[], Activation],
        axes: Axes | None,  # noqa: ARG002 -- of the protocol
    ) -> None:
        """Keep an activation."""
        if kind not in self._kinds:
            return
        name = owner if isinstance(owner, str) else owner.__dict__[NAME]
        made = make()
        parts = {"": made} if isinstance(made, Tensor) else {f"/{n}": t for n, t in made.items()}
        for suffix, part in parts.items():
            self.found[f"{kind}/{name}{suffix}"] = part.clone()  # no output is another one

    def loop_start(self) -> None:
        """Nothing."""

    def loop_end(self) -> None:
        """Nothing."""

    def generation_start(self, *_arguments: Any) -> None:
        """Nothing."""

    def decoding_step(self, parents: Tensor | None) -> None:
        """Nothing."""

    def generation_end(self, result: Any) -> None:
        """Nothing."""


class EncoderGraph(Graph):
    """From a source to what the decoder's steps need, or to the outputs of the head."""

    def __init__(
        self, module: SequenceModule, step: Step | None, record: Sequence[str], *, head_mask: bool
    ) -> None:
        assert module.spec.source is not None
        if module.spec.source.is_sequence:
            ports = [
                Port("source", torch.tensor([[4, 4, 4], [4, 4, 0]]), ("batch", "source")),
                Port("source_lengths", torch.tensor([3, 2]), ("batch",)),
            ]
        else:
            size = module.spec.source.row_format.shape[0]
            ports = [Port("source", torch.zeros(2, size), ("batch", size))]
        super().__init__(module, "encoder", ports, record, head_mask=head_mask)
        self.step = step

    def compute(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name."""
        memory = self.module.encode(given["source"], given.get("source_lengths"))
        assert memory is not None
        if self.step is None:
            return {"outputs": self.module.head(memory.pooled)}
        return self.step.start(memory)


class DecoderGraph(Graph):
    """One step: tokens, memory and state to the scores of the next token and the new state."""

    def __init__(
        self, module: SequenceModule, step: Step, record: Sequence[str], *, head_mask: bool
    ) -> None:
        tokens = torch.tensor([[[4], [5], [6]], [[5], [6], [4]]])
        if not step.one_token:
            tokens = tokens.expand(-1, -1, 4).contiguous()
        sizes = ("batch", "beam", 1 if step.one_token else "time")
        parents = torch.tensor([[0, 1, 2], [2, 3, 4]])
        ports = [Port("tokens", tokens, sizes), Port("parents", parents, ("batch", "beam"))]
        ports += _memory_ports(module, step)
        for state in step.states:
            shape: list[str | int] = ["past" if size == 0 else size for size in state.shape]
            example = torch.zeros(5, *(7 if size == 0 else size for size in state.shape))
            ports.append(Port(state.name, example, ("previous", *shape)))
        super().__init__(module, "decoder", ports, record, head_mask=head_mask)
        self.step = step

    def compute(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name."""
        batch, beam, _ = given["tokens"].shape
        parents = given["parents"].flatten()
        memory = {name: given[name] for name in self.step.memory}
        state = {s.name: given[s.name].index_select(0, parents) for s in self.step.states}
        embedding: Any = self.module.target_embedding
        inputs = embedding(given["tokens"].flatten(0, 1))
        hidden, new = self.step(inputs, memory, state, beam)
        logits = self.module.head(hidden[:, -1]).reshape(batch, beam, -1)
        names = [f"new.{state.name}" for state in self.step.states]
        return {"logits": logits} | dict(zip(names, new, strict=True))


def _memory_ports(module: SequenceModule, step: Step) -> list[Port]:
    """What the step reads of the encoder, with an example of two sources."""
    if not step.memory:
        return []
    spec: Any = module.spec.source
    encoder = EncoderGraph(module, step, (), head_mask=False)
    with torch.no_grad():
        found = encoder.compute({port.name: port.example for port in encoder.ports})
    ports = []
    for name in step.memory:
        sizes: list[str | int] = ["batch", *found[name].shape[1:]]
        if spec.is_sequence and name != "pooled":
            sizes[2 if name.startswith("source.") else 1] = "source"
        ports.append(Port(name, found[name].clone(), tuple(sizes)))
    return ports


def make_graphs(
    module: SequenceModule, record: Sequence[str] = (), *, head_mask: bool = False
) -> tuple[EncoderGraph | None, DecoderGraph | None]:
    """The graphs of a module: the encoder where there is a source, the decoder where it is used.

    Args:
        module: The module, which stays as it is.
        record: The kinds of activations that the graphs also return.
        head_mask: Whether the graphs have an input that weights the heads of attention.

    Raises:
        TypeError: If the decoder is not one of seqlearn's, `head_mask` is not true or false, or
            `record` is a string.
        ValueError: If there is no attention with heads for `head_mask`, or no such kind.
    """
    _check_kinds(record)
    check_flag(head_mask, "head_mask")
    copied = traceable_copy(module)
    step = make_step(copied) if copied.spec.target.needs_decoder else None
    encoder = decoder = None
    if copied.spec.source is not None:
        encoder = EncoderGraph(copied, step, record, head_mask=head_mask)
    if step is not None:
        decoder = DecoderGraph(copied, step, record, head_mask=head_mask)
    graphs = [graph for graph in (encoder, decoder) if graph is not None]
    if head_mask and all(graph.masked is None for graph in graphs):
        raise ValueError(
            f"head_mask needs attention with heads, and {type(module).__name__} has none; leave it "
            "out"
        )
    return encoder, decoder


def check_recorded(
    module: SequenceModule, record: Sequence[str], graphs: Mapping[str, Mapping[str, Any]]
) -> None:
    """Check that the graphs return something of each kind in `record`.

    Args:
        module: The module.
        record: The kinds.
        graphs: The entries of the traced graphs in `export.json`.

    Raises:
        ValueError: If they return nothing of a kind.
    """
    outputs = [name for graph in graphs.values() for name in graph["outputs"]]
    for kind in record:
        if not any(name.startswith(f"{kind}/") for name in outputs):
            raise ValueError(
                f"record: {type(module).__name__} computes no {kind} that a graph can return; "
                f"leave {kind!r} out"
            )


def _check_kinds(record: Sequence[str]) -> None:
    names = ", ".join(map(repr, RECORDED))
    if isinstance(record, str):
        raise TypeError(
            f"record: expected a list of kinds among {names}, got the string {record!r}; put it "
            "into a list"
        )
    for kind in record:
        if kind not in RECORDED:
            raise ValueError(f"record: expected kinds among {names}, got {kind!r}")
