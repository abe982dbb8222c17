"""Quads for IOPO (a fork of LLaMA-Factory): two prompts and the answer that is right for each (spec pairs 1.3, 17.5).

Carries groups of two pairs that prefer the same two answers the other way round under two prompts of one user message each,
after the same system message, if any. In its file `rejected` is the right answer to the second prompt: every other trainer
would misread it.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from pipeline import ids
from pipeline.errors import Rejected
from pipeline.pair import Pair
from pipeline.records import Message, Record
from stages.exports.arms import Arms, ChatMessage, Conversation, conditional_arms, said
from stages.exports.flat import plain
from stages.exports.formats import Format
from stages.exports.llama_factory import dataset_info
from stages.exports.wanted import Given
from stages.pairs.joint_pairs import joint_pair
from stages.sources.columns import Row, optional_text
from stages.sources.imports import Origin, answer, asked, candidate, turns


class IopoRow(Record, frozen=True, kw_only=True):
    """One quad."""

    group_id: str
    system: str
    conversations: Conversation
    chosen: ChatMessage
    rejected: ChatMessage


def rows(pair: Pair, given: Given) -> list[Record]:
    """One row for the first pair of a quad, none for the second. Raises Rejected: no_quad, several_turns, and as
    `conditional_arms` for either pair."""
    group = [p for p in given.pairs if p.group_id == pair.group_id and pair.group_id is not None]
    if len(group) != 2:
        raise Rejected("no_quad", f"{len(group)} pairs in the group, a quad takes 2")
    one, two = (conditional_arms(p, given.wanted) for p in group)
    if (one.chosen, one.rejected) != (two.rejected, two.chosen) or one.prompt == two.prompt:
        raise Rejected("no_quad", "the pairs of the group do not exchange their answers under two prompts")
    (system, first), (other, second) = _parts(one), _parts(two)
    if system != other:
        raise Rejected("no_quad", "the prompts have different system messages, the format holds one")
    if pair.pair_id != group[0].pair_id:
        return []
    return [
        IopoRow(
            prompt_id=pair.prompt_id, group_id=str(pair.group_id), system=system,
            conversations=(ChatMessage("user", first), ChatMessage("user", second)),
            chosen=said(one.chosen), rejected=said(one.rejected),
        )
    ]  # fmt: skip


def _parts(arms: Arms) -> tuple[str, str]:
    """System text (empty where there is none) and question."""
    if arms.prompt[0].role == "system":
        return arms.prompt[0].content, plain(arms.prompt[1:])
    return "", plain(arms.prompt)


def imports(row: Row, origin: Origin) -> list[Record]:
    """Both pairs of the quad, under its first prompt. Raises Rejected: no_quad, and as `answer`."""
    system = row.get("system")
    head = (Message("system", system),) if isinstance(system, str) and system else ()
    prompts = [(*head, question) for question in turns(row.get("conversations"))]
    if len(prompts) != 2:
        raise Rejected("no_quad", f"{len(prompts)} prompts, a quad has 2")
    prompt = asked(prompts[0], origin)
    texts = [answer(row.get(side), side) for side in ("chosen", "rejected")]
    right, wrong = (candidate(prompt, origin.job, None, i, said) for i, said in enumerate(texts))
    group = optional_text(row.get("group_id"), "group_id") or ids.content_hash("quad/1", *prompts, *texts)
    made = [
        replace(
            joint_pair("given", prompt, ((messages, best), (messages, worst)), label_source="given"),
            group_id=group, group_size=2, group_role=role,
        )
        for messages, best, worst, role in ((prompts[0], right, wrong, "1"), (prompts[1], wrong, right, "2"))
    ]  # fmt: skip
    return [prompt, right, wrong, *made]


FORMAT = Format(
    rows=rows,
    row=IopoRow,
    imports=imports,
    columns={
        "group_id": "the group of the two pairs",
        "system": "system message of both prompts, or empty",
        "conversations": "the two prompts, each a user message {role, content}",
        "chosen": "the right answer to the first prompt",
        "rejected": "the right answer to the SECOND prompt, wrong for the first",
    },
    usage="""# for the IOPO loss alone; in the training's YAML, with the names in dataset_info.json
# dataset_dir: path/to/this/folder
# dataset: pairs-00000,pairs-00001
# cutoff_len: {max_length}
""",
    files=partial(dataset_info, system=True),
)
