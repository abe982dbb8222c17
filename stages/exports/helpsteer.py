"""The rows of HelpSteer2-Preference, for reward models that learn the strength of a preference (spec judges 4, C1).

Carries pairs with one prompt of one user message (or, with `tokenizer`, any prompt, rendered by the chat template) whose
strength is known and not 0. Which answer is response_1 is drawn from their texts. With `rationales: true` the elaboration
is the rationale, its Response A and B being response 1 and 2.
"""

from __future__ import annotations

from typing import Any

from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Candidate, Rationale, Record
from stages.exports.arms import conditional_arms
from stages.exports.flat import RENDERED, rendered
from stages.exports.formats import Format, PairRow, identity
from stages.exports.labels import drawn_first, told
from stages.exports.wanted import Given
from stages.judges.labels import label_columns
from stages.rationales.references import statement
from stages.sources.columns import Row, text
from stages.sources.imports import Origin, compared, explained, turns


class HelpsteerRow(PairRow, frozen=True, kw_only=True):
    """One comparison."""

    prompt: str
    response_1: str
    response_2: str
    preference_strength: int
    preference_statement: str


class HelpsteerRationaleRow(HelpsteerRow, frozen=True, kw_only=True):
    """The same with the reasons; None where no rationale passed its gate."""

    preference_elaboration: str | None = None


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row. Raises Rejected: no_strength, several_turns, and as `conditional_arms`."""
    arms = conditional_arms(pair, given.wanted)
    why = given.explanations.get(pair.pair_id) if given.wanted.rationales else None
    first = drawn_first("helpsteer", arms, why)
    strength = _strength(pair)
    texts = (arms.chosen, arms.rejected) if first == "chosen" else (arms.rejected, arms.chosen)
    names = ("A", "B") if first == "chosen" else ("B", "A")
    columns = {
        **identity(pair), "prompt": rendered(arms.prompt, given.wanted.tokenizer),
        "response_1": texts[0], "response_2": texts[1],
        "preference_strength": -strength if first == "chosen" else strength,
        "preference_statement": _numbered(statement(*names, strength)),
    }  # fmt: skip
    if not given.wanted.rationales:
        return [HelpsteerRow(**columns)]
    return [HelpsteerRationaleRow(**columns, preference_elaboration=told(why, first).text if why else None)]


def _strength(pair: Pair) -> int:
    """1 to 3. Raises Rejected: no_strength."""
    known = pair.strength_signed_int
    if known is None and pair.pref_prob is not None:
        known = label_columns(pair.pref_prob)["strength_signed_int"]
    if known is None or known <= 0:
        raise Rejected("no_strength", "the preference has no strength; it takes the votes of two judges or more")
    return known


def _numbered(text: str) -> str:
    """`Response A` and `Response B` of the fixed sentence, as the data set writes them."""
    return text.replace("Response A", "@Response 1").replace("Response B", "@Response 2")


def imports(row: Row, origin: Origin) -> list[Record]:
    """The pair with its strength, and the elaboration as its rationale. Raises Rejected: no_strength (0 too), and as
    `compared`."""
    given: Any = row.get("preference_strength")
    if not isinstance(given, int) or not 1 <= abs(given) <= 3:
        raise Rejected("no_strength", f"the strength is {given!r:.20}, not -3 to -1 or 1 to 3")
    texts = [text(row.get(name), name) for name in ("response_1", "response_2")]
    chosen, rejected = texts if given < 0 else texts[::-1]
    made = compared(turns(row.get("prompt")), (chosen, rejected), origin, strength_signed_int=abs(given))
    return explained(made, row.get("preference_elaboration"), "chosen" if given < 0 else "rejected")


FORMAT = Format(
    rows=rows,
    row=HelpsteerRow,
    options={"rationales": HelpsteerRationaleRow},
    imports=imports,
    imported=(Candidate, Pair, Rationale),
    columns={
        "prompt": RENDERED,
        "response_1": "one answer",
        "response_2": "the other",
        "preference_strength": "-3 (response_1 much better) to 3 (response_2 much better), never 0",
        "preference_statement": "the same in words",
        "preference_elaboration": "why; Response A is response_1, Response B response_2",
    },
    usage="""from datasets import load_dataset

# max_length of your trainer: {max_length}
data = load_dataset("path/to/this/folder", split="train")
""",
)
