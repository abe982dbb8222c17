"""One rationale asked for: what its author is shown, and the row that its answer makes. Pure."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from pipeline import ids
from pipeline.engine import Completion
from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Rationale, ToolCall
from stages.judges.calls import refusal
from stages.judges.hygiene import as_data, prompt_text
from stages.rationales.critiques import gate_critique, parse_critique, scored
from stages.rationales.gate import Gated, Limits, Shown, gate, implied_label
from stages.rationales.graphs import gate_graph, parse_graph
from stages.rationales.kinds import COMPARING, Kind, has_format
from stages.rationales.measures import hide_verdict
from stages.rationales.references import statement
from stages.rationales.replies import Evidence, Reply, parse_reply
from stages.rationales.tool_evidence import told
from stages.rationales.verifier import Read

OTHER = {"A": "B", "B": "A"}


class Attempt(Struct, frozen=True):
    """One rationale asked for. arm: of a critique; source: the rationale an argument graph is drawn from."""

    pair: Pair
    kind: Kind
    label_visible: bool
    sample_idx: int
    shown: Shown
    arm: str | None = None
    source: Rationale | None = None
    tools: tuple[tuple[str, ToolCall], ...] = ()  # arm, and what a tool said of it

    @property
    def way(self) -> str:
        """Whether the author knows the label: blind or post_hoc."""
        return "post_hoc" if self.label_visible else "blind"

    @property
    def longest(self) -> int:
        """Characters of the longest text to show."""
        return max(len(self.shown.prompt), len(self.shown.response_a), len(self.shown.response_b))

    def _name(self, arm: str) -> str:
        if self.arm is not None:
            return "The response"
        return f"Response {self.shown.chosen if arm == 'chosen' else OTHER[self.shown.chosen]}"

    def variables(self) -> dict[str, Any]:
        """What a template may say: texts as data, never a score, an id or another verdict."""
        prefix = self.pair.assistant_prefix or ""
        step = self.kind == "step"
        calls = [(self._name(arm), call) for arm, call in self.tools]  # chosen first: in that order they tell the label
        return {
            "prompt": prompt_text(self.pair.prompt_messages, "" if step else prefix),
            "steps": as_data(prefix) if step else "",
            "response_a": as_data(self.shown.response_a),
            "response_b": as_data(self.shown.response_b),
            "kind": self.kind,
            "label": self.shown.chosen if self.label_visible else "",
            "checks": [as_data(told(call, name)) for name, call in sorted(calls, key=itemgetter(0))],
            "rationale": as_data(self.source.text or "") if self.source else "",
        }


class Found(Struct, frozen=True):
    """What came of an attempt: its row, the claims that can be verified, and a critique's score."""

    attempt: Attempt
    row: Rationale
    claims: tuple[str, ...] = ()
    score: int | None = None

    def to_read(self) -> Read:
        """What a verifier needs."""
        pair, shown = self.attempt.pair, self.attempt.shown
        chosen, rejected = pair.chosen_messages[-1].content, pair.rejected_messages[-1].content
        prompt = prompt_text(pair.prompt_messages, pair.assistant_prefix or "")
        return Read(self.row, prompt, chosen, rejected, shown.chosen, self.claims)


def shown_arms(pair: Pair, chosen: str) -> Shown:
    """Both arms, the chosen one at place `chosen`."""
    better, worse = pair.chosen_messages[-1].content, pair.rejected_messages[-1].content
    prompt = prompt_text(pair.prompt_messages, pair.assistant_prefix or "")
    return Shown(prompt, *((better, worse) if chosen == "A" else (worse, better)), chosen)


def shown_alone(pair: Pair, arm: str) -> Shown:
    """One arm, as a critique's author sees it."""
    text = (pair.chosen_messages if arm == "chosen" else pair.rejected_messages)[-1].content
    prompt = prompt_text(pair.prompt_messages, pair.assistant_prefix or "")
    return Shown(prompt, text, "", "A" if arm == "chosen" else "B")


def chosen_place(pair: Pair, run_seed: int, author: str, sample_idx: int) -> str:
    """Where the chosen arm is shown, A or B: by a hash bit that depends on neither label nor worker (spec C0.5)."""
    arms = [
        gen.candidate_id if gen is not None else ids.content_hash("text/1", messages[-1].content)
        for gen, messages in (
            (pair.chosen_gen, pair.chosen_messages),
            (pair.rejected_gen, pair.rejected_messages),
        )
    ]
    low, high = sorted(arms)
    first = low if ids.seed(run_seed, "shown_order", pair.prompt_id, low, high, author, sample_idx) & 1 == 0 else high
    return "A" if arms[0] == first else "B"


def blank_row(attempt: Attempt, identity: str, author: str, job: str, form: str) -> Rationale:
    """The row before its answer. identity: what decides the answer beside the attempt itself."""
    pair, arm, source = attempt.pair, attempt.arm, attempt.source
    which = (author, pair.pair_id, attempt.kind, attempt.way, attempt.sample_idx, arm)
    source_id = source.rationale_id if source else None
    tools = [[about, call.tool, call.args_json, call.observation] for about, call in attempt.tools]
    return Rationale(
        prompt_id=pair.prompt_id,
        rationale_id=ids.content_hash("rationale/1", identity, *which, source_id, tools),
        pair_id=pair.pair_id,
        job=job,
        chosen_id=pair.chosen_gen.candidate_id if pair.chosen_gen else None,
        rejected_id=pair.rejected_gen.candidate_id if pair.rejected_gen else None,
        kind=attempt.kind,
        format=form if attempt.kind in COMPARING else "json",
        label_visible=attempt.label_visible,
        shown_order=0 if arm is not None or attempt.shown.chosen == "A" else 1,
        author_model=author,
        sample_idx=attempt.sample_idx,
        status="rejected",
        arm=arm,
        source_rationale_id=source_id,
        tool_evidence=tuple([call for _, call in attempt.tools]) or None,
    )


def answered(blank: Rationale, attempt: Attempt, completion: Completion | Rejected | None, limits: Limits) -> Found:
    """The row with what the author wrote and what the gate found. None: it could not be asked."""
    if completion is None or isinstance(completion, Rejected):
        long = completion is None or refusal(completion) == "too_long"
        return Found(attempt, replace(blank, reject_reason="prompt_too_long" if long else "no_answer"))
    cut = completion.finish_reason != "stop"
    row = replace(
        blank,
        reject_reason="truncated" if cut else "parse_error",
        raw_text=completion.text,
        n_tokens=completion.n_tokens,
    )
    if attempt.kind == "critique":
        return _critique(row, attempt, limits, cut)
    if attempt.kind == "argument_graph":
        return _graph(row, attempt, limits, cut)
    reply = parse_reply(completion.text, row.format)
    return Found(attempt, row) if reply is None else _compared(row, reply, attempt, limits, cut)


def _compared(row: Rationale, reply: Reply, attempt: Attempt, limits: Limits, cut: bool) -> Found:
    found = gate(reply, attempt.shown, limits, cut)
    label = implied_label(reply, attempt.shown.chosen)
    worse = OTHER.get(reply.label)
    row = replace(
        _gated(row, found),
        statement=statement(reply.label, worse, reply.strength) if worse else None,
        elaboration=reply.elaboration,
        text=reply.text,
        implied_label=label,
        implied_strength=None if reply.strength is None else label * reply.strength,
    )
    if row.status == "ok" and not has_format(row):
        row = replace(row, status="rejected", reject_reason="format")
    return Found(attempt, row, _claims(reply.evidence, reply.elaboration))


def _critique(row: Rationale, attempt: Attempt, limits: Limits, cut: bool) -> Found:
    critique = parse_critique(row.raw_text or "")
    if critique is None:
        return Found(attempt, row)
    row = replace(
        _gated(row, gate_critique(critique, attempt.shown, limits, cut)),
        statement=scored(critique),
        elaboration=critique.elaboration,
        text=critique.text,
    )
    return Found(attempt, row, _claims(critique.evidence, critique.elaboration), critique.score)


def _graph(row: Rationale, attempt: Attempt, limits: Limits, cut: bool) -> Found:
    source = attempt.source.text or "" if attempt.source else ""
    graph = parse_graph(row.raw_text or "", source)
    if graph is None:
        return Found(attempt, row)
    row = _gated(row, gate_graph(graph, limits, cut))
    return Found(attempt, replace(row, text=graph.text, claims=graph.nodes, edges=graph.edges))


def _gated(row: Rationale, found: Gated) -> Rationale:
    status = "ok" if found.reason is None else "rejected"
    return replace(row, status=status, reject_reason=found.reason, spans=found.spans, verify=found.verify)


def _claims(evidence: tuple[Evidence, ...], elaboration: str) -> tuple[str, ...]:
    """What can be true or false: the points with their quotes; where there are none, the prose without its verdict."""
    names = {"A": "Response A: ", "B": "Response B: ", "prompt": "The prompt: "}
    points = [
        f"{names.get(e.side or '', '')}{chr(34) + e.quote + chr(34) + ': ' if e.quote else ''}{e.point}"
        for e in evidence
        if e.point
    ]
    return tuple(points) or ((hide_verdict(elaboration),) if elaboration else ())
