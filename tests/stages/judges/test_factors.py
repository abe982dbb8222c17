"""What separates chosen from rejected: features of texts, tau over pairs, and the report that a job leaves."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pair import Score
from pipeline.records import Candidate, Message, Prompt
from pipeline.stage import Context, Example, Summary
from stages.judges.factor_report import ALL, Tau, taus
from stages.judges.factors import Factors
from stages.judges.features import FEATURES, features
from stages.pairs.build import response_pair

PROMPT = Prompt("p", "p", (Message("user", "How?"),))


def pair(chosen: str, rejected: str, kind: str = "given", **fields: Any) -> Any:
    arms = (Candidate("p", "a", chosen, "j"), Candidate("p", "b", rejected, "j"))
    return response_pair(kind, PROMPT, *arms, label_source="given", **fields)


async def run(*pairs: Any, **fields: Any) -> tuple[list[Any], dict[str, int]]:
    ctx = Context("factors", "run", 7, "f", {})
    return await Factors(**fields).process(Example(PROMPT, pairs=pairs), ctx), ctx.counts


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("words", "It's a well-known fact: 3.5 km.", 8),
        ("sentences", "One. Two? Three!", 3),
        ("lines", "a\n\n b\n", 2),
        ("list_items", "- a\n* b\n2. c\n1986 was", 3),
        ("headings", "# A\n## B\n#no", 2),
        ("bold", "**a** and **b c** and * d *", 2),
        ("code_blocks", "```py\nx\n```\ntext", 1),
        ("numbers", "1,200 and 3.5 and 7", 3),
        ("citations", "So it is [1][2], see [x](https://a.b) and https://c.d", 4),
        ("questions", "What? Why?", 2),
        ("hedging", "Perhaps it might rain; I think so.", 3),
        ("politeness", "Thank you! Please feel free.", 3),
        ("formality", "It's gonna rain", -100 * 2 / 3),
        ("refusal", "I'm sorry, but I can't help with that.", 1),
        ("first_person", "I gave my dog to us", 3),
        ("second_person", "You and your", 2),
    ],
)
def test_a_feature_counts_what_its_name_says(name: str, text: str, value: float) -> None:
    assert FEATURES[name](text) == pytest.approx(value)


@given(st.text(max_size=300))
def test_every_text_has_every_feature_and_the_same_one_twice(text: str) -> None:
    assert features(text) == features(text)
    assert features(text).keys() == FEATURES.keys()


def test_tau_is_that_of_the_papers_example() -> None:
    assert Tau(6, 3, 1).tau == pytest.approx(0.3)
    lengths, scores = (120, 300, 90, 300), (0.2, 0.9, 0.4, 0.7)
    signs = [
        (lengths[i] - lengths[j]) * (1 if scores[i] > scores[j] else -1) for i, j in itertools.combinations(range(4), 2)
    ]
    assert Tau(sum(s > 0 for s in signs), sum(s < 0 for s in signs), signs.count(0)).tau == 0.5


def test_few_pairs_prove_nothing_and_many_do() -> None:
    assert not Tau(2, 0, 0).separates
    assert Tau(20, 0, 0).separates
    assert not Tau(11, 9, 0).separates
    assert Tau(60, 40, 0).separates
    assert (Tau(0, 0, 0).tau, Tau(0, 0, 0).interval) == (0.0, (-1.0, 1.0))


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_turning_every_label_turns_tau(more: int, less: int, same: int) -> None:
    one, other = Tau(more, less, same), Tau(less, more, same)
    assert one.tau == -other.tau
    assert one.interval == pytest.approx([-other.interval[1], -other.interval[0]])
    assert one.interval[0] <= one.tau <= one.interval[1]


async def test_a_length_preference_is_seen_and_a_mirrored_group_shows_none() -> None:
    long, short = "A long answer with 12 numbers, 13 and 14.", "No?"
    _, counts = await run(*[pair(f"{long} {i}", short) for i in range(20)])
    found = taus(counts)[ALL]
    assert (found["characters"].tau, found["questions"].tau, found["headings"].tau) == (1.0, -1.0, 0.0)
    assert found["characters"].separates
    rows, counts = await run(pair(long, short), pair(short, long))
    assert {tau.tau for tau in taus(counts)[ALL].values()} == {0.0}
    assert {gap.factor for gap in rows[0].gaps} == {gap.factor for gap in rows[1].gaps}
    assert all(gap.chosen != gap.rejected for row in rows for gap in row.gaps)


async def test_scores_of_judges_are_factors_where_both_arms_have_them() -> None:
    def score(arm: str, aspect: str, value: float) -> Score:
        return Score(arm, "j", aspect, value, value, 0.0, 1.0, 1, 0.0)

    both = (score("chosen", "clarity", 0.9), score("rejected", "clarity", 0.2), score("chosen", "truth", 0.9))
    _, counts = await run(pair("One.", "Two.", scores=both), scores=True)
    assert taus(counts)[ALL]["rated:clarity"] == Tau(1, 0, 0)
    assert "rated:truth" not in taus(counts)[ALL]
    _, counts = await run(pair("One.", "Two.", scores=both))
    assert not any("rated" in name for name in counts)


async def test_the_report_names_the_strongest_first_and_every_kind() -> None:
    _, counts = await run(*[pair("word " * (i + 2), "no", kind=f"kind{i % 2}") for i in range(30)])
    summary = Summary("r", "factors", {}, {"factors": counts}, {}, ())
    files = Factors().finish(summary)
    told = json.loads(files["factors.json"])
    assert list(told) == [ALL, "kind0", "kind1"]
    assert (told[ALL]["words"]["tau"], told[ALL]["words"]["n"]) == (1.0, 30)
    text = files["factors.md"]
    assert "## kind1" in text
    rows = [line for line in text.splitlines() if line.startswith("| **")]
    assert rows[0].startswith("| **characters** | +1.00 | +0.90 to +1.00 | 30 | 0 | 0 | 30 |")
    assert "No pair differs in: bold" in text
