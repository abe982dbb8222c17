"""The rows. One record type = one table; every record is immutable and every field is a column (in this order).

No timestamps, host names or absolute paths: the same inputs give the same bytes. `None` means "not known", never "low".
The pair's columns are spec pairs 17.1 (`pairs/1.0`), extended by the label columns of spec judges C1.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Status = Literal[
    "ok", "parse_error", "truncated", "refused", "timeout", "out_of_range", "low_mass", "too_long", "one_order", "na"
]


def storable(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair, which no file can hold. JSON's `\\ud800` makes such text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


class Part(Struct, frozen=True, gc=False):
    """A nested value inside a record; a struct column."""


class Message(Part, frozen=True):
    """One chat turn."""

    role: str
    content: str
    reasoning: str | None = None
    tool_calls_json: str | None = None


class Source(Part, frozen=True):
    """Where a prompt came from."""

    dataset: str | None = None
    subset: str | None = None
    row_id: str | None = None
    license: str | None = None
    lang: str | None = None


class Record(Struct, frozen=True):
    """A row of a table. `prompt_id` says which prompt it concerns (empty only for input rows that were no prompt)."""

    prompt_id: str


class Prompt(Record, frozen=True):
    """What is asked. `base_prompt_id` is the un-augmented seed prompt: caps, splits and decontamination key on it."""

    base_prompt_id: str
    messages: tuple[Message, ...]
    reference: str | None = None  # the known answer, as the source gives it
    context_id: str | None = None
    source: Source = Source()
    split: str = "train"
    ext_json: str | None = None  # further source columns the config asked to keep

    @property
    def text(self) -> str:
        """The content of the last user message."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


class Candidate(Record, frozen=True):
    """One answer to a prompt, generated or given."""

    candidate_id: str
    text: str
    job: str  # the job that made it
    sample_idx: int = 0
    model: str | None = None
    model_revision: str | None = None
    engine: str | None = None  # engine kind, or None when the text was given
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    finish_reason: str | None = None  # stop | length | …; None when not known (given text)
    n_tokens: int | None = None
    mean_logp: float | None = None  # mean log-probability per generated token, nats
    policy_relation: str | None = None  # on, off, weak, strong, edited, human, gold, corrupted, canary
    principle: str | None = None  # name of the system principle it was asked under
    gen_context_id: str | None = None  # hash of the system text it was asked under
    token_ids: tuple[int, ...] | None = None
    ext_json: str | None = None


class Embedding(Record, frozen=True):
    """A prompt as a vector of length 1."""

    model: str
    vector: tuple[float, ...]


class LabelProb(Part, frozen=True):
    """Probability of one label among the renormalised label tokens."""

    label: str
    p: float


class ToolCall(Part, frozen=True):
    """One call of a tool by a judge."""

    tool: str
    args_json: str
    observation: str
    ok: bool


class Judgment(Record, frozen=True):
    """One judge call, raw. `value` is on [scale_min, scale_max]; None unless status is ok (spec judges C0.1).

    The scale is -inf to inf for what has no bounds: rewards and log-likelihoods.
    """

    judgment_key: str
    job: str
    # aspect, rubric, criterion, pairwise, listwise, rm, flr, relevance, self_certainty, likelihood, icl, tool, meta, context_…
    mode: str
    judge_id: str
    cand_ids: tuple[str, ...]
    status: Status
    value: float | None = None
    value_mode: float | None = None  # most probable label, or the parsed one
    scale_min: float = 0.0
    scale_max: float = 1.0
    judge_family: str | None = None
    template_id: str | None = None
    template_hash: str | None = None
    order: int | None = None  # pairwise: 0 = first candidate shown first; listwise: place of the candidate, from 0
    aspect: str | None = None
    weight: float | None = None  # of a criterion, -3 … 3; negative where to meet it is a fault
    sample_idx: int = 0
    attempt: int = 0  # repeats of a failed call, each a row
    label_probs: tuple[LabelProb, ...] | None = None
    label_mass: float | None = None
    logprob_source: str = "none"  # none, raw, processed
    reasoning: str | None = None
    raw_text: str | None = None
    tool_trace: tuple[ToolCall, ...] | None = None
    n_in: int | None = None
    n_out: int | None = None
    messages: tuple[Message, ...] | None = None  # what the judge was asked, where the stage keeps it


class Span(Part, frozen=True):
    """A verbatim quote and where it stands: `side` is a (the chosen arm), b (the rejected arm), prompt, or rationale
    (the one that an argument graph was drawn from)."""

    side: str
    quote: str
    start: int | None = None
    end: int | None = None
    point: str | None = None


class Argument(Part, frozen=True):
    """A node of an argument graph; `span_idx`: its place in `spans`, None where it is not verbatim."""

    id: str
    type: str  # claim | premise
    text: str
    span_idx: int | None = None


class ArgumentEdge(Part, frozen=True):
    """What one node does to another: support or attack it."""

    src: str
    dst: str
    rel: str  # support | attack


class Verification(Part, frozen=True):
    """What the rationale gate measured (spec judges C2, V1–V11); None = not evaluated.

    p_label: the verifier's probability of the label, both orders averaged, given the rationale without its verdict;
    p_label_without: given none; p_label_perturbed: given one with words replaced. quality: share of soft checks passed.
    """

    label_consistent: bool | None = None
    quote_precision: float | None = None
    copy_ratio: float | None = None
    position_leak: bool | None = None
    false_claims: int | None = None
    n_claims: int | None = None
    votes_for: int | None = None
    votes_n: int | None = None
    utility: float | None = None
    sensitivity: float | None = None
    truthfulness: float | None = None
    relevance: float | None = None
    self_certainty: float | None = None
    p_label: float | None = None
    p_label_without: float | None = None
    p_label_perturbed: float | None = None
    quality: float | None = None
    rewritable: bool | None = None


class Rationale(Record, frozen=True):
    """Why the chosen arm beats the rejected one. `text` names the arms as shown: Response A / Response B."""

    rationale_id: str
    pair_id: str
    job: str
    chosen_id: str | None
    rejected_id: str | None
    kind: str  # general, detailed, contrastive, critique, step, argument_graph
    format: str  # free, annotated_report, procedural, subquestions, json
    label_visible: bool  # True when the author was told the label (post-hoc)
    shown_order: int  # 0 = chosen shown as Response A, 1 = shown as Response B
    author_model: str
    sample_idx: int
    status: str  # ok | rejected
    reject_reason: str | None = None
    statement: str | None = None
    elaboration: str | None = None
    text: str | None = None
    implied_label: int | None = None  # +1 prefers the chosen arm, -1 the rejected one, 0 neither
    implied_strength: int | None = None  # -3 … 3, sign as implied_label
    spans: tuple[Span, ...] | None = None
    verify: Verification = Verification()
    raw_text: str | None = None
    n_tokens: int | None = None
    arm: str | None = None  # chosen | rejected: the response a critique is about
    claims: tuple[Argument, ...] | None = None  # nodes and edges of an argument graph
    edges: tuple[ArgumentEdge, ...] | None = None
    source_rationale_id: str | None = None  # of an argument graph: the rationale it was drawn from
    tool_evidence: tuple[ToolCall, ...] | None = None  # what tools had said of the responses, as the author saw it


class Reject(Record, frozen=True):
    """A row that could not be processed. subject: row (of the input), prompt, candidate, pair or rationale."""

    job: str
    subject: str
    reason: str  # counted code
    detail: str = ""
    subject_id: str | None = None
