"""One row with a value of many types, for drivers to carry there and back."""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Final

COLUMNS: Final = "label, many, amount, at, about, reference, raw, day, flag, ratio"
ROW: Final = (
    "Ünïcode \U0001f3e6 'quoted' \\",
    ["a", None, "{,}"],
    decimal.Decimal("-12345678901234567890.123456789"),
    datetime.datetime(2026, 2, 28, 23, 59, 59, 999_999, tzinfo=datetime.UTC),
    {"nested": [1, None, {"deep": True}]},
    uuid.UUID("12345678-1234-5678-1234-567812345678"),
    bytes(range(256)),
    datetime.date(1969, 7, 20),
    None,
    -1.5e300,
)
