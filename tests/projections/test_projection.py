"""Rows arrive in their tables as they were, whatever is written in them."""

from collections.abc import Callable

import pytest

from api.wiring import Timebank
from projections.projection import copy_rows

OpenBank = Callable[..., Timebank]
PLAIN = ["", "null", "NULL", "助餐", "𠮷祥", "a,b", "[1]", "],[", " x ", "it's", "\x7f", "\u2028", "$1"]
ESCAPED = ["\\N", "\\.", '"', '""', "a\nb", "a\r\nb", "]\n[", "\t", "\x01", "\\\\"]


@pytest.mark.parametrize("texts", [PLAIN, ESCAPED, PLAIN + ESCAPED], ids=["plain", "escaped", "both"])
def test_copied_rows_are_read_back_as_they_were(open_bank: OpenBank, texts: list[str]) -> None:
    rows = [(n, text, None if n % 2 else text, n % 3 == 0) for n, text in enumerate(texts)]
    with open_bank().reading() as connection, connection.transaction(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE copied (n bigint, a text, b text, c boolean) ON COMMIT DROP")
        copy_rows(cursor, "copied", ("n", "a", "b", "c"), rows)
        copy_rows(cursor, "copied", ("n", "a", "b", "c"), [])
        assert cursor.execute("SELECT * FROM copied ORDER BY n").fetchall() == rows
