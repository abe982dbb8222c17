"""Argument graphs: the claims and premises of a rationale, and which supports or attacks which (CasiMedicos-Arg's form).

Pure. A node is a passage of the rationale; the graph adds structure and no content, so what it was drawn from has
passed the gate for it.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from pipeline.records import Argument, ArgumentEdge, Span, Verification
from stages.rationales.gate import Gated, Limits, count_tokens
from stages.rationales.quotes import find_quote
from stages.rationales.replies import first_object

_MAX_NODES = 40

GRAPH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "nodes": {
            "type": "array",
            "minItems": 2,
            "maxItems": 20,
            "items": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "maxLength": 8},
                    "type": {"enum": ["claim", "premise"]},
                    "text": {"type": "string", "maxLength": 400},
                },
                "required": ["id", "type", "text"],
                "additionalProperties": False,
            },
        },
        "edges": {
            "type": "array",
            "minItems": 1,
            "maxItems": 40,
            "items": {
                "type": "object",
                "properties": {
                    "src": {"type": "string", "maxLength": 8},
                    "dst": {"type": "string", "maxLength": 8},
                    "rel": {"enum": ["support", "attack"]},
                },
                "required": ["src", "dst", "rel"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["nodes", "edges"],
    "additionalProperties": False,
}


class Graph(Struct, frozen=True, gc=False):
    """Nodes and edges as their author gave them, with the places of the nodes in the rationale."""

    nodes: tuple[Argument, ...]
    edges: tuple[ArgumentEdge, ...]
    spans: tuple[Span, ...]

    @property
    def text(self) -> str:
        """A line for each node, followed by what it supports and attacks."""
        lines = []
        for node in self.nodes:
            does = ", ".join([f"{e.rel}s {e.dst}" for e in self.edges if e.src == node.id])
            lines.append(f"{node.id} ({node.type}): {node.text}" + (f" [{does}]" if does else ""))
        return "\n".join(lines)


def parse_graph(text: str, rationale: str) -> Graph | None:
    """The first JSON object in `text` that has `nodes`; None when it is not a list of nodes and one of edges."""
    value = first_object(text, "nodes")
    items, links = (value.get("nodes"), value.get("edges", [])) if value is not None else (None, None)
    if not isinstance(items, list) or not isinstance(links, list) or len(items) + len(links) > 3 * _MAX_NODES:
        return None
    found = [_node(item) for item in items]
    edges = [_edge(link) for link in links]
    nodes = [node for node in found if node is not None]
    known = [edge for edge in edges if edge is not None]
    if len(nodes) < len(found) or len(known) < len(edges):
        return None
    places = [find_quote(node.text, rationale) for node in nodes]
    spans = [Span("rationale", n.text, *place) for n, place in zip(nodes, places, strict=True) if place is not None]
    numbers = iter(range(len(spans)))
    placed = [
        Argument(n.id, n.type, n.text, None if place is None else next(numbers))
        for n, place in zip(nodes, places, strict=True)
    ]
    return Graph(tuple(placed), tuple(known), tuple(spans))


def gate_graph(graph: Graph, limits: Limits, truncated: bool) -> Gated:
    """V1 and V3 of a graph: `graph_shape` where it is no argument (no claim, no edge, an edge to nowhere, a circle)."""
    precision = len(graph.spans) / len(graph.nodes) if graph.nodes else None
    n_tokens = count_tokens(graph.text)
    fails = (
        ("truncated", truncated),
        ("too_short", n_tokens < limits.min_tokens),
        ("too_long", n_tokens > limits.budget * 1.5),
        ("graph_shape", not _is_argument(graph)),
        ("quote_precision", precision is not None and precision < limits.min_quote_precision),
    )
    verify = Verification(quote_precision=precision)
    return Gated(next((reason for reason, failed in fails if failed), None), verify, graph.spans)


def _is_argument(graph: Graph) -> bool:
    names = [node.id for node in graph.nodes]
    ends = [(edge.src, edge.dst) for edge in graph.edges]
    if len(set(names)) < len(names) or len(set(ends)) < len(ends) or not ends:
        return False
    if not all(end in names for edge in ends for end in edge) or not any(n.type == "claim" for n in graph.nodes):
        return False
    left = set(names)
    while True:  # takes away what nothing points from; what remains stands in a circle
        free = {name for name in left if not any(src == name and dst in left for src, dst in ends)}
        if not free:
            return not left
        left -= free


def _node(item: Any) -> Argument | None:
    if not isinstance(item, dict) or not all(isinstance(item.get(k), str) for k in ("id", "type", "text")):
        return None
    sort, text = item["type"].strip().lower(), item["text"].strip()
    return Argument(item["id"].strip(), sort, text) if sort in ("claim", "premise") and text else None


def _edge(link: Any) -> ArgumentEdge | None:
    if not isinstance(link, dict) or not all(isinstance(link.get(k), str) for k in ("src", "dst", "rel")):
        return None
    rel = link["rel"].strip().lower().removesuffix("s")
    return ArgumentEdge(link["src"].strip(), link["dst"].strip(), rel) if rel in ("support", "attack") else None
