"""A correction must be of something that was written."""

from __future__ import annotations

import pytest

from stages.rationales.attributions import misattributed

RIGHT = "Step 1: 12 x 8 = 96\nStep 2: 96 / 3 = 32\nAnswer: 32"
OTHER_NUMBER = "Step 1: 12 x 8 = 96\nStep 2: 86 / 3 = 22\nAnswer: 22"
SLIP = "Step 1: 12 x 8 = 96\nStep 2: 96 / 3 = 22\nAnswer: 22"


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ("Step 2 of response B is wrong: 96 / 3 is 32, not 22.", SLIP),
        ("96 ÷ 3 = 32, not 22", SLIP),
        ("it should be 96 / 3 = 32", OTHER_NUMBER),
        ("It computes 96 / 3 = 32 rather than 22", SLIP),
        ("12 x 8 = 96, and 96 / 3 = 32", OTHER_NUMBER),
        ("96 / 3 is 32, not 22", "I think it is 22."),
        ("1,200 / 3 = 400, not 300", "1200 / 3 = 300"),
    ],
)
def test_a_correction_of_what_was_written_holds(text: str, response: str) -> None:
    assert misattributed(text, (RIGHT, response)) == []


@pytest.mark.parametrize(
    ("text", "response"),
    [
        ("Step 2 of response B is wrong: 96 / 3 is 32, not 22.", OTHER_NUMBER),
        ("96 / 3 = 32, not 23", SLIP),
        ("2 x 15 is 30, not 120", "Step 4: 8 x 15 = 120\nAnswer: 66"),
    ],
)
def test_a_correction_of_what_nobody_wrote_is_found(text: str, response: str) -> None:
    assert len(misattributed(text, (RIGHT, response))) == 1
