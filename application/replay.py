"""Replay: the whole ledger counted again from its facts, with the same fold that decisions use."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from application.finding import Finding
from domain.account import Account, evolve
from domain.fact import Movement, Recorded
from domain.figures import Dimension, Figure, Tally
from domain.journal import FactStore

CELLS: Final[dict[str, tuple[Dimension, int]]] = {
    "community": ("community", 1),
    "service": ("service", 1),
    "month": ("month", 1),
    "grid 1": ("grid", 1),
    "grid 2": ("grid", 2),
    "grid 3": ("grid", 3),
}
"""The ways in which figures are counted again: by a dimension, for grids to a level."""


class Counted(msgspec.Struct):
    """What a ledger comes to: balances in minutes by account (those that ever moved), and the figures."""

    balances: dict[str, int]
    figures: Figure
    cells: dict[str, dict[str, Figure]]


class Replay:
    """A fold over facts in their order. ``facts`` counts all of them, ``movements`` those that move minutes."""

    def __init__(self) -> None:
        self.position = 0
        self.recorded_at_microseconds = 0
        self.facts = 0
        self.movements = 0
        self._accounts: dict[str, Account] = {}
        self._tally = Tally()

    def fold(self, batch: Iterable[Recorded[Any]]) -> None:
        """Raises: GapInJournal where a position is missing or out of order."""
        accounts, tally = self._accounts, self._tally
        position = self.position
        for recorded in batch:
            fact = recorded.envelope.fact
            position += 1
            if recorded.position != position:
                raise GapInJournal(position, recorded.position)
            if isinstance(fact, Movement):
                self.movements += 1
                for name in (fact.source, fact.target):
                    accounts[name] = evolve(accounts.get(name) or Account(name), fact)  # type: ignore[arg-type]
            tally.fold(fact)
            self.recorded_at_microseconds = recorded.recorded_at_microseconds
        self.facts += position - self.position
        self.position = position

    @property
    def total_minutes(self) -> int:
        """The sum over all accounts; anything but zero means that minutes were made or lost."""
        return sum(account.balance_minutes for account in self._accounts.values())

    def counted(self) -> Counted:
        return Counted(
            {name: account.balance_minutes for name, account in sorted(self._accounts.items())},
            self._tally.figures(),
            self._tally.all_cells(CELLS),
        )


class GapInJournal(Exception):
    """The journal's positions are not dense: a fact is missing, or facts are out of order."""

    def __init__(self, expected: int, found: int) -> None:
        self.expected, self.found = expected, found
        super().__init__(
            f"账本缺少位置 {expected} 的事实（读到 {found}）。 / "
            f"The journal lacks the fact at position {expected} (found {found})."
        )


def replay(store: FactStore, to: int | None = None, progress: Callable[[int], None] | None = None) -> Replay:
    """Fold the journal from its first fact to a position (None: the head).

    Raises: GapInJournal, and what the store raises for facts that can't be read.
    """
    fold = Replay()
    for batch in store.scan(0, to):
        fold.fold(batch)
        if progress is not None:
            progress(fold.position)
    return fold


class Difference(msgspec.Struct, omit_defaults=True):
    """One place where what is counted again and what was recorded disagree; ``position`` is that of the fact which says
    otherwise (0: no fact does)."""

    what: str
    replayed: object
    projected: object
    position: int = 0

    def finding(self, kind: str, type_: str) -> Finding:
        """The same as what an audit finds of a type of fact."""
        zh = f"{self.what}：记着 {self.projected}，应为 {self.replayed}"
        en = f"{self.what}: {self.projected} instead of {self.replayed}"
        return Finding(kind, zh, en, position=self.position, type=type_)


def differences(replayed: Counted, projected: Counted) -> list[Difference]:
    """Every account and every cell that is not the same in both, in the order of their names."""
    found: list[Difference] = []

    def compare(kind: str, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                found.append(Difference(f"{kind} {key}".strip(), ours.get(key), theirs.get(key)))

    compare("balance", replayed.balances, projected.balances)
    compare("figures", {"": replayed.figures}, {"": projected.figures})
    for name in CELLS:
        compare(name, dict(replayed.cells[name]), dict(projected.cells[name]))
    return found
