"""A ledger: one time bank, a district with all its communities. Accounts of two ledgers never meet."""

from dataclasses import dataclass
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

from domain.decision import Context, Decided, Decision, Fold, read
from domain.fact import Fact
from domain.refusal import AlreadyDone

SYNTHETIC_NOTICE: Final = "合成数据，没有真实的人。 / Synthetic data; no real person is in it."
"""What a synthetic ledger says beside everything that it shows."""


class LedgerOpened(Fact, frozen=True, omit_defaults=True):
    """The ledger was opened, before anything else. ``zone`` (IANA) decides on which day a service falls."""

    type = "ledger-opened.v1"
    name: str
    zone: str
    synthetic: bool = False

    def tags(self) -> tuple[str, ...]:
        return ("ledger:self",)


class Ledger(msgspec.Struct, frozen=True):
    opened: LedgerOpened | None = None


def _evolve(_: Ledger, fact: LedgerOpened) -> Ledger:
    return Ledger(fact)


ledger = Fold[Ledger]("ledger", lambda _: Ledger(), _evolve, (LedgerOpened,)).of("self")


def _known_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise ValueError("没有这个时区，例：Asia/Shanghai / there is no such zone; an example: Asia/Shanghai") from None
    return zone


class OpenLedger(BaseModel):
    """Open the ledger. A synthetic one says so on everything that it shows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
    zone: Annotated[str, AfterValidator(_known_zone)] = "Asia/Shanghai"
    synthetic: bool = False


def open_ledger(command: OpenLedger, _: Context) -> Decision:
    """Raises: LedgerAlreadyOpen."""
    state = yield from read(ledger)
    if state.opened is not None:
        raise LedgerAlreadyOpen(state.opened.name)
    return Decided(0, (LedgerOpened(command.name, command.zone, command.synthetic),))


@dataclass(unsafe_hash=True)
class LedgerAlreadyOpen(AlreadyDone):
    name: str
    zh = "账本“{name}”已经开立。"
    en = "The ledger “{name}” is open already."
