"""Date arithmetic against the calendar of the standard library, and what it refuses to guess."""

from __future__ import annotations

import contextlib
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.tools.dates import DateError, answer_dates


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("2024-03-05", "2024-03-05 is a Tuesday, day 65 of 2024"),
        ("What day of the week was July 4, 1776?", "1776-07-04 is a Thursday"),
        ("Sept. 3rd, 2021", "2021-09-03 is a Friday"),
        ("31st of December, 2000", "2000-12-31 is a Sunday, day 366"),
        ("25/04/2024", "2024-04-25"),
        ("04.25.2024", "2024-04-25"),
        ("2024/5/6", "2024-05-06"),
        ("2024-01-31 + 1 month", "2024-02-29"),
        ("2024-02-29 - 1 year", "2023-02-28"),
        ("subtract 45 days from 2024-03-05", "2024-01-20"),
        ("10 days before 5 March 2024", "2024-02-24"),
        ("a week after May 1, 2024", "2024-05-08"),
        ("2 months and 3 days before 2024-05-10", "2024-03-07"),
        ("2024-03-05 + 2 years - 3 days", "2026-03-02"),
        ("2024-01-05 + 3 business days", "2024-01-10"),
        ("2024-01-08 - 1 business day", "2024-01-05"),
        ("days between Jan 1 2000 and 2000-12-31", "365 days"),
        ("2024-03-05 to 2024-01-01", "-64 days from 2024-03-05 to 2024-01-01: 9 weeks and 1 days"),
        ("2020-02-29 to 2024-02-28", "3 years, 11 months and 30 days"),
    ],
)
def test_answers(question: str, answer: str) -> None:
    assert answer in answer_dates(question)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("03/04/2024", "two ways"),
        ("2024-02-30", "there is no"),
        ("31 June 2024", "there is no"),
        ("today", "not understood"),
        ("tomorrow + 3 days", "not understood"),
        ("2024-03-05 and 17 other things", "not understood"),
        ("2024-01-01, 2024-01-02, 2024-01-03", "not understood"),
        ("business days between 2024-01-01 and 2024-02-01", "not understood"),
        ("3 days before and 2 days after 2024-01-01", "both before and after"),
        ("9999-12-31 + 1 day", "calendar"),
        ("0001-01-01 - 1 month", "calendar"),
        ("2024-01-01 + 999999 business days", "at most"),
        ("x" * 301, "characters"),
    ],
)
def test_what_is_ambiguous_or_no_date_is_refused(question: str, message: str) -> None:
    with pytest.raises(DateError, match=message):
        answer_dates(question)


dates = st.dates(min_value=datetime.date(1600, 1, 1), max_value=datetime.date(2400, 1, 1))


@given(dates, dates)
def test_differences_add_up(first: datetime.date, second: datetime.date) -> None:
    days = (second - first).days
    assert answer_dates(f"{first} to {second}").startswith(f"{days} days ")
    assert answer_dates(f"{first} {'-' if days < 0 else '+'} {abs(days)} days").startswith(f"{second} is a {second:%A}")


@given(st.text(alphabet="0123456789-/. daysmonthbefr+JanMay", max_size=40))
def test_any_text_gives_an_answer_or_a_reason(text: str) -> None:
    with contextlib.suppress(DateError):
        assert answer_dates(text)
