"""pair_rationales: training data for who writes rationales: one that holds over one that does not, of the same pair.

    - {stage: explain, engine: judge, kinds: [contrastive], samples: 8, sampling: {temperature: 1.0, max_tokens: 1024}}
    - {stage: pair_rationales}                              # kept over refused, whatever was wrong
    - {stage: pair_rationales, rule: both_options}          # PODA: analyses of both options, right end over wrong end
    - {stage: pair_rationales, rule: selection}             # METEORA: evidence that is there over evidence that is not
    - {stage: export, from: [pair_rationales], format: trl-dpo}

The prompt shows prompt and both responses and asks which is better and why; it is written anew, so that the trained model
needs no JSON, and both arms name the responses in its order.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pipeline import ids
from pipeline.pair import Generation, Lineage, Pair
from pipeline.records import Message, Rationale
from pipeline.stage import Context, Example, Stage
from stages.judges.hygiene import prompt_text
from stages.pairs.build import CODE_VERSION
from stages.pairs.rationale_pairs import RationalePair, Rule, rationale_pairs, told
from stages.rationales.training import asked_why


class PairRationales(Stage):
    """Pairs of rationales of the same pair and kind.

    rule: `kept`, `both_options` or `selection`, as above.
    blind_only: rationales whose author was told the label are left out; they explain, they do not decide.
    max_pairs: per pair and kind.
    Counts: `kept`, `no_pair` (pairs with rationales of which none makes a pair).
    """

    rule: Rule = "kept"
    blind_only: bool = True
    max_pairs: int = Field(2, ge=1)

    async def process(self, example: Example[Pair | Rationale], ctx: Context) -> list[Pair]:
        """The pairs of one prompt, in the order of the pairs they are about."""
        made: list[Pair] = []
        for about in example.pairs:
            group = [r for r in example.rationales if r.pair_id == about.pair_id]
            found = rationale_pairs(group, self.rule, self.blind_only, self.max_pairs)
            if group and not found:
                ctx.count("no_pair")
            ctx.count("kept", len(found))
            made += [self._pair(about, one, ctx) for one in found]
        return made

    def _pair(self, about: Pair, found: RationalePair, ctx: Context) -> Pair:
        asked = (Message("user", _question(about, found.chosen)),)
        texts = told(found.chosen, found.chosen), told(found.rejected, found.chosen)
        arms = [ids.arm(ids.prompt_id(asked), None, text) for text in texts]
        kind = f"rationale_{self.rule}"
        parents = (found.chosen.rationale_id, found.rejected.rationale_id)
        return Pair(
            prompt_id=about.prompt_id,
            base_prompt_id=about.base_prompt_id,
            pair_id=ids.pair_id(kind, None, *arms),
            unordered_id=ids.unordered_id(None, *arms),
            kind=kind,
            level="rationale",
            split=about.split,
            prompt_messages=asked,
            chosen_messages=(Message("assistant", texts[0]),),
            rejected_messages=(Message("assistant", texts[1]),),
            label_source=about.label_source if found.by_label else "checker",
            rationale_kind=found.chosen.kind,
            flags=(f"refused:{found.rejected.reject_reason}",),
            source=about.source,
            lineage=Lineage(
                ctx.run, "pair_rationales", str(self.version), CODE_VERSION, ctx.fingerprint, ctx.run_seed, parents
            ),
            **_authors(found),
        )


def _question(about: Pair, chosen: Rationale) -> str:
    texts = [about.chosen_messages[-1].content, about.rejected_messages[-1].content]
    if chosen.shown_order:
        texts.reverse()
    return asked_why(prompt_text(about.prompt_messages, about.assistant_prefix or ""), *texts)


def _authors(found: RationalePair) -> dict[str, Any]:
    """How each arm was made. Its own tokens are not known: the author wrote JSON."""
    return {
        "chosen_gen": Generation(found.chosen.rationale_id, found.chosen.author_model),
        "rejected_gen": Generation(found.rejected.rationale_id, found.rejected.author_model),
    }
