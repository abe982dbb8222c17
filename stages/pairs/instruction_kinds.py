"""The kinds of instruction-level pairs, each as the groups of rows that come of one prompt's responses (spec pairs 1.1-1.4,
17.2). Pure.

Groups come in drawn order and are to be kept or dropped whole; a row that belongs to no group is a list of one. Every
response or couple of responses has a stream of its own, so that a cap or another response changes no draw.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Literal, NamedTuple

import msgspec

from pipeline import ids
from pipeline.pair import Pair
from pipeline.records import Candidate, Prompt
from stages.constraints.family import Kwargs
from stages.pairs.draw_instructions import (
    Contrast,
    Drawing,
    Instructions,
    Mode,
    demands,
    fitting_families,
    inter,
    intra,
    quad,
    reversed_for,
    strictly_better,
)
from stages.pairs.instruction_pairs import Side, answer_pair, grouped, prompt_pair, with_instructions

Kind = Literal["mapl_intra", "mapl_inter", "iopo_quad", "rpo_reverse", "conditionalised"]
Groups = Iterator[list[Pair]]
_MOST_IN_GROUPS = 3  # instructions of mapl_inter and iopo_quad (spec 17.2: k 1-3)


class Rules(NamedTuple):
    """What a config says of the draws; see PairInstructions."""

    families: tuple[str, ...]
    n_instructions: tuple[int, int] = (1, 5)
    mode_mix: float = 0.5
    gamma: float = 0.1
    separator: str = "\n\n"
    mirrored: bool = True


class Material(NamedTuple):
    """One prompt, its distinct responses, the couples of them to be compared, and the instructions it came with.

    written: the prompt's text says the given instructions already.
    """

    prompt: Prompt
    responses: tuple[Candidate, ...]
    couples: tuple[tuple[Candidate, Candidate], ...]
    given: Instructions
    written: bool
    rules: Rules
    seed: int

    def stream(self, *what: str) -> Random:
        """The stream of one draw."""
        return ids.stream("pair_instructions", self.seed, self.prompt.prompt_id, *what)

    def drawing(self, most: int, *what: str) -> Drawing:
        """What instructions are drawn from, with at most `most` of them."""
        draw = self.stream(*what)
        fewest, largest = self.rules.n_instructions
        texts = tuple([c.text for c in self.responses])
        taken = [one.family for one in self.given] if self.written else []
        families = fitting_families(self.rules.families, self.prompt.text, texts, taken)
        return Drawing(families, draw.randint(min(fewest, most), min(largest, most)), self.prompt.text, texts, draw)

    def side(self, instructions: Instructions, response: Candidate, written: bool = False) -> Side:
        """A response to the prompt with these instructions, which are added unless it says them already."""
        added = () if written else instructions
        return Side(with_instructions(self.prompt, added, self.rules.separator), instructions, response)


def _mode(m: Material, draw: Random) -> Mode:
    return "a" if draw.random() < m.rules.mode_mix else "b"


def _contrasts(m: Material) -> Iterator[tuple[Candidate, Mode, Contrast]]:
    for response in m.responses:
        drawing = m.drawing(m.rules.n_instructions[1], "mapl_intra", response.candidate_id)
        mode = _mode(m, drawing.draw)
        found = intra(response.text, mode, drawing)
        if found is not None:
            yield response, mode, found


def mapl_intra(m: Material) -> Groups:
    """The prompt that a response suits over the one that it suits less.

    Mirrored: groups of two, in which two responses prefer the same two prompts the other way round, so that no prompt
    wins by its looks. Else each response by itself.
    """
    if m.rules.mirrored:
        yield from _mirrored(m)
        return
    for response, mode, (better, worse) in _contrasts(m):
        note = _json({"mode": mode})
        yield [prompt_pair(m.prompt, m.side(better, response), m.side(worse, response), ext_json=note)]


def _mirrored(m: Material) -> Groups:
    for first, second in m.couples:
        names = sorted((first.candidate_id, second.candidate_id))
        drawing = m.drawing(m.rules.n_instructions[1], "mapl_intra", *names)
        mode = _mode(m, drawing.draw)
        found = quad(first.text, second.text, drawing, mode) or inter(first.text, second.text, drawing)
        if found is not None:
            note = _json({"mode": mode})
            rows = [
                prompt_pair(m.prompt, m.side(better, response), m.side(worse, response), ext_json=note)
                for response, better, worse in ((first, found.one, found.other), (second, found.other, found.one))
            ]
            yield grouped(rows, ["A", "B"])


def _exchanged(kind: Kind, m: Material, find: Callable[[str, str, Drawing], Contrast | None]) -> Groups:
    for first, second in m.couples:
        names = sorted((first.candidate_id, second.candidate_id))
        found = find(first.text, second.text, m.drawing(_MOST_IN_GROUPS, kind, *names))
        if found is not None:
            one = answer_pair(kind, m.prompt, m.side(found.one, first), second)
            other = answer_pair(kind, m.prompt, m.side(found.other, second), first)
            yield grouped([one, other], ["A", "B"])


def mapl_inter(m: Material) -> Groups:
    """Groups of two: prompt A wants the first response and nothing of the second, prompt B the other way round."""
    return _exchanged("mapl_inter", m, inter)


def iopo_quad(m: Material) -> Groups:
    """Groups of two: as mapl_inter, beside instructions that both responses keep under both prompts."""
    return _exchanged("iopo_quad", m, quad)


def rpo_reverse(m: Material) -> Groups:
    """Groups of two for every couple that differs: the same demands, turned over so that the chosen response is perfect."""
    if len(m.responses) < 2:
        return
    if m.given and not m.written:
        wanted = m.given
    else:
        drawing = m.drawing(m.rules.n_instructions[1], "rpo_reverse")
        wanted = demands([c.text for c in m.responses], drawing)
    for couple in m.couples:
        perfect = [reversed_for(c.text, wanted) for c in couple]
        if perfect[0] and perfect[1] and (differing := sum(a != b for a, b in zip(*perfect, strict=True))):
            yield grouped(
                [
                    answer_pair(
                        "rpo_reverse", m.prompt, m.side(suited, chosen), rejected,
                        polarity=["original" if one in wanted else "reversed" for one in suited],
                        margin_logit=m.rules.gamma * differing,
                        ext_json=_json({"differing": differing, "gamma": m.rules.gamma}),
                    )
                    for suited, chosen, rejected in zip(perfect, couple, couple[::-1], strict=True) if suited
                ],
                ["A", "B"],
            )  # fmt: skip


def conditionalised(m: Material) -> Groups:
    """Ordinary pairs under every prompt at hand, where one response keeps all that the other keeps, and more."""
    variants: list[tuple[Instructions, bool]] = [(m.given, m.written)] if m.given else []
    variants += [(side, False) for _, _, found in _contrasts(m) for side in found]
    for (wanted, written), (first, second) in itertools.product(variants, m.couples):
        kept = [[one.check(c.text) for one in wanted] for c in (first, second)]
        for chosen, rejected in ((first, second), (second, first)):
            if strictly_better(*(kept if chosen is first else kept[::-1])):
                origin = "given" if written else "derived"
                yield [
                    answer_pair("conditionalised", m.prompt, m.side(wanted, chosen, written), rejected, origin=origin)
                ]


def _json(value: Kwargs) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


KINDS: Mapping[Kind, Callable[[Material], Groups]] = {
    "mapl_intra": mapl_intra,
    "mapl_inter": mapl_inter,
    "iopo_quad": iopo_quad,
    "rpo_reverse": rpo_reverse,
    "conditionalised": conditionalised,
}
