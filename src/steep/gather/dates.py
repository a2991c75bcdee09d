"""Dates as sources write them, in UTC: ISO 8601, RFC 2822 and their common blends.

What cannot be read is None rather than a guess: a wrong date is worse than a missing one.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from email.utils import parsedate_to_datetime
from typing import Any


def parse_date(value: Any) -> datetime | None:
    """The moment in UTC; UTC is assumed where no zone is given."""
    moment = _moment(value)
    if moment is None:
        return None
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:  # the first and the last day that a datetime can hold
        return None


def _moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    return _read(value.strip()) if isinstance(value, str) else None


def _read(text: str) -> datetime | None:
    # `2012-07-09 2:30:29 -0400`, `… UTC`: ISO 8601 but for a missing zero and a blank before the zone
    iso = re.sub(r"(?<=\d)\s*(UTC|GMT)$", "Z", text)
    iso = re.sub(r"(?<=\d)\s+(?=[+-]\d\d:?\d\d$)", "", iso)
    iso = re.sub(r"(?<=[ T])(?=\d:)", "0", iso)
    try:
        return datetime.fromisoformat(iso)
    except ValueError:
        pass
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
