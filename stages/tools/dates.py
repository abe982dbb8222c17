"""Dates: what day of the week, how long between two, what date so much later. The Gregorian calendar, no clock."""

from __future__ import annotations

import calendar
import datetime
import re
from collections.abc import Callable

_MONTHS = "january february march april may june july august september october november december".split()
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_MONTH = rf"(?P<month>{'|'.join(f'{m[:3]}(?:{m[3:]})?' if m != 'may' else m for m in _MONTHS)}|sept)\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_DATE = [
    re.compile(rf"(?<![\w-]){form}(?![\w-])", re.IGNORECASE | re.ASCII)
    for form in (
        r"(?P<year>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<day>\d{1,2})",
        rf"{_MONTH}\s+{_DAY},?\s+(?P<year>\d{{4}})",
        rf"{_DAY}\s+(?:of\s+)?{_MONTH},?\s+(?P<year>\d{{4}})",
        r"(?P<a>\d{1,2})[/.](?P<b>\d{1,2})[/.](?P<year>\d{4})",
    )
]
_SHIFT = re.compile(
    r"(?P<sign>[-+−]|\b(?:minus|subtract|plus|add|in)\b|)\s*(?P<n>\d{1,6}|\ban?\b|\bone\b)\s*"
    r"(?P<unit>business day|working day|weekday|day|week|month|year)s?\b"
    r"(?:\s*(?P<later>ago|before|earlier|prior|later|after))?",
    re.IGNORECASE | re.ASCII,
)
_BUSINESS = re.compile(r"business|working|weekday", re.IGNORECASE)
_BACK = {"-", "−", "minus", "subtract", "ago", "before", "earlier", "prior"}
MAX_CHARS = 300


class DateError(ValueError):
    """The question is not understood, or leaves the calendar. The message is for whoever wrote it."""


def answer_dates(question: str) -> str:
    """Answers `2024-03-05` (day of the week), `2024-01-01 to March 5, 2024` (difference), `2024-01-31 + 1 month`,
    `10 days before 5 March 2024` (another date). Raises DateError.

    A month later than the 31st is the last of the month. Differences count days from the first to the second date.
    """
    if len(question) > MAX_CHARS:
        raise DateError(f"the question has {len(question)} characters, {MAX_CHARS} are allowed")
    dates, rest = _take_dates(question)
    shifts = list(_SHIFT.finditer(rest))
    if any(c.isdigit() for c in _SHIFT.sub("", rest)) or (len(dates) > 1 and _BUSINESS.search(rest)):
        dates = []  # more was asked than is understood
    try:
        if len(dates) == 1 and shifts:
            return _told(_shifted(dates[0], shifts))
        if len(dates) == 1:
            return _told(dates[0])
        if len(dates) == 2 and not shifts:
            return _between(*dates)
    except (OverflowError, ValueError) as error:
        raise DateError(f"beyond the calendar of the years 1 to 9999 ({error})") from None
    raise DateError(
        "not understood; give one date, two dates, or one date and an interval: "
        "2024-03-05; 2024-01-01 to 2024-03-05; 2024-01-31 + 1 month"
    )


def _take_dates(text: str) -> tuple[list[datetime.date], str]:
    """The dates in their order, and the text without them."""
    found: list[tuple[int, datetime.date]] = []
    for pattern in _DATE:
        for match in pattern.finditer(text):
            found.append((match.start(), _date(match)))
            text = text[: match.start()] + " " * len(match[0]) + text[match.end() :]
    return [date for _, date in sorted(found)], text


def _date(match: re.Match[str]) -> datetime.date:
    parts = match.groupdict()
    if "a" in parts:  # 03/04/2024 is two dates; 25/04/2024 and 04/25/2024 are one
        a, b = int(parts["a"]), int(parts["b"])
        if a <= 12 and b <= 12 and a != b:
            raise DateError(f"{match[0]} can be read in two ways; write year-month-day")
        day, month = (a, b) if b <= 12 else (b, a)
    else:
        name = (parts.get("month") or "").lower()[:3]
        month = int(parts["m"]) if "m" in parts else [m[:3] for m in _MONTHS].index(name) + 1
        day = int(parts["day"])
    try:
        return datetime.date(int(parts["year"]), month, day)
    except ValueError:
        raise DateError(f"there is no {match[0].strip()}") from None


def _shifted(date: datetime.date, shifts: list[re.Match[str]]) -> datetime.date:
    """All shifts in turn. One without a sign goes the way of the one before it, or that of a final `before`."""
    words = {shift["later"].lower() for shift in shifts if shift["later"]}
    sign = -1 if words & _BACK else 1
    if sign < 0 and words - _BACK:
        raise DateError("both before and after; ask for one of them at a time")
    for shift in shifts:
        if shift["sign"]:
            sign = -1 if shift["sign"].lower() in _BACK else 1
        date = _UNITS[shift["unit"].lower()](date, sign * (int(shift["n"]) if shift["n"].isdigit() else 1))
    return date


def _days(date: datetime.date, n: int) -> datetime.date:
    return date + datetime.timedelta(days=n)


def _months(date: datetime.date, n: int) -> datetime.date:
    year, month = divmod(date.year * 12 + date.month - 1 + n, 12)
    if not 1 <= year <= 9999:
        raise DateError("beyond the calendar of the years 1 to 9999")
    return date.replace(year=year, month=month + 1, day=min(date.day, calendar.monthrange(year, month + 1)[1]))


def _business_days(date: datetime.date, n: int) -> datetime.date:
    if abs(n) > 100_000:
        raise DateError("100000 business days at most")
    left, step = abs(n), 1 if n > 0 else -1
    while left:
        date = _days(date, step)
        left -= date.weekday() < 5
    return date


_UNITS: dict[str, Callable[[datetime.date, int], datetime.date]] = {
    "day": _days,
    "week": lambda date, n: _days(date, 7 * n),
    "month": _months,
    "year": lambda date, n: _months(date, 12 * n),
    **dict.fromkeys(("business day", "working day", "weekday"), _business_days),
}


def _told(date: datetime.date) -> str:
    return f"{date.isoformat()} is a {_DAYS[date.weekday()]}, day {date.timetuple().tm_yday} of {date.year:04}"


def _between(first: datetime.date, second: datetime.date) -> str:
    days = (second - first).days
    early, late = min(first, second), max(first, second)
    months = (late.year - early.year) * 12 + late.month - early.month
    months -= _months(early, months) > late
    rest = (late - _months(early, months)).days
    weeks, odd = divmod(abs(days), 7)
    return (
        f"{days} days from {first.isoformat()} to {second.isoformat()}: {weeks} weeks and {odd} days, "
        f"or {months // 12} years, {months % 12} months and {rest} days"
    )
