"""A ledger is opened once."""

import pytest
from pydantic import ValidationError

from domain.ledger import LedgerAlreadyOpen, LedgerOpened, OpenLedger, ledger, open_ledger
from tests.controls import ADMIN, LEDGER_OPENED, given


def test_a_ledger_is_opened_with_its_zone() -> None:
    command = OpenLedger(name="  青秀区时间银行 ", synthetic=True)
    given().when(open_ledger, command, actor=ADMIN).then(LEDGER_OPENED, policy=0)


def test_a_name_may_hold_rare_characters() -> None:
    given().when(open_ledger, OpenLedger(name="𠮷祥社区")).then(LedgerOpened("𠮷祥社区", "Asia/Shanghai"))


def test_it_is_opened_once_only() -> None:
    again = OpenLedger(name="另一个")
    given(LEDGER_OPENED).when(open_ledger, again).refused(LedgerAlreadyOpen("青秀区时间银行"))


def test_the_state_is_what_was_opened() -> None:
    assert given().state(ledger).opened is None
    assert given(LEDGER_OPENED).state(ledger).opened == LEDGER_OPENED


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "Asia", "+08:00"])
def test_a_zone_that_nobody_knows_never_reaches_the_journal(zone: str) -> None:
    with pytest.raises(ValidationError, match="没有这个时区"):
        OpenLedger(name="x", zone=zone)


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "Asia/Urumqi", "Europe/Zurich", "UTC"])
def test_any_zone_of_the_world_will_do(zone: str) -> None:
    assert OpenLedger(name="x", zone=zone).zone == zone


@pytest.mark.parametrize("name", ["", "   ", "字" * 81])
def test_a_name_is_needed_and_is_short(name: str) -> None:
    with pytest.raises(ValidationError):
        OpenLedger(name=name)
