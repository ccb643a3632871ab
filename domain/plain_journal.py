"""The movements as journals of the plain-text accounting tools ledger, hledger and beancount.

One transaction a movement, with both postings written out, in whole ``MIN`` (minutes); its day is the day on which it
was recorded, in the ledger's zone, and ``fact:`` is the position of the fact. At the end of each month every household
that moved in it is asserted to hold what it holds, and at the very end every account is. Minutes that are held stay
in their account, so they move nothing here.

The same facts give the same bytes, on any machine: what is written decides by ranges of characters and never by the
interpreter's tables, which grow. So whoever has the facts can prove that a journal was made of them.

    account          ledger, hledger        beancount
    household:H-1    household:H-1          Assets:Household:H--1
    pool:新竹社区     pool:新竹社区           Assets:Pool:X新竹社区
    issuance         issuance               Equity:Issuance

What a name holds that a tool could read as something else is escaped, and can be read back: for ledger and hledger as
``%`` and two hexadecimal digits a byte of UTF-8; for beancount ``-`` is doubled, another character is its code point
between two ``-``, and what doesn't begin with a capital or a digit, or begins with ``X``, has an ``X`` before it.
"""

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, NamedTuple, Protocol

from domain.account import household_account
from domain.fact import Movement
from domain.ledger import SYNTHETIC_NOTICE

HELD_HERE: Final = frozenset({"household", "group", "pool", "partner"})
"""Kinds of accounts that belong to somebody of this ledger: beancount has them as assets, all others as equity."""

_HOUSEHOLD: Final = household_account("")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Of what is beyond ASCII only what hledger takes for no kind of space: ideographs, their marks, and full-width forms.
_PLAIN: Final = re.compile("[^A-Za-z0-9._\u2e80-\u2fff\u3001-\u9fff\uac00-\ufaff\uff01-\uff5e\U00020000-\U0003fffd-]")
# beancount allows letters and decimal digits alone. Every code point of these ranges has been a letter for long.
_COMPONENT: Final = re.compile("[^A-Za-z0-9\u3400-\u4dbf\u4e00-\u9fff]")


class When(NamedTuple):
    """When movements were recorded, as all forms write it: by its day, and in the ledger's zone (RFC 3339)."""

    day: date
    day_text: str
    recorded: str


class Form(Protocol):
    """How one of the tools has it written. Accounts come as that tool names them."""

    def account(self, account: str) -> str: ...
    def head(self, ledger: str, notice: str | None) -> str: ...
    def opened(self, account: str, day: date) -> str: ...
    def moved(self, when: When, position: int, type_: str, source: str, target: str, minutes: int) -> str: ...
    def asserted(self, at_end_of: date, balances: list[tuple[str, int]]) -> str:
        """That accounts hold so many minutes when the day ends."""
        ...


def plain_account(account: str) -> str:
    """An account's name for ledger and hledger."""
    kind, separator, name = account.partition(":")
    return kind + separator + _PLAIN.sub(_as_bytes, name)


def _as_bytes(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def beancount_account(account: str) -> str:
    """An account's name for beancount."""
    kind, separator, name = account.partition(":")
    root = "Assets" if kind in HELD_HERE else "Equity"
    return f"{root}:{kind.capitalize()}{separator}" + (_component(name) if separator else "")


def _component(name: str) -> str:
    written = _COMPONENT.sub(lambda found: "--" if found[0] == "-" else f"-{ord(found[0]):x}-", name)
    return written if re.match("[A-WYZ0-9]", written) else "X" + written


class _Ledger:
    directives = "commodity MIN\ntag fact\ntag recorded\n"

    def account(self, account: str) -> str:
        return plain_account(account)

    def head(self, ledger: str, notice: str | None) -> str:
        lines = [f"; {ledger}: 分钟 minutes"] + ([] if notice is None else ["; " + notice])
        return "\n".join(lines) + "\n\n" + self.directives

    def opened(self, account: str, _: date) -> str:
        return f"\naccount {account}"

    def moved(self, when: When, position: int, type_: str, source: str, target: str, minutes: int) -> str:
        return (
            f"\n{when.day_text} {type_}\n    ; fact: {position}\n    ; recorded: {when.recorded}\n"
            f"    {source}  {-minutes} MIN\n    {target}  {minutes} MIN\n"
        )

    def asserted(self, at_end_of: date, balances: list[tuple[str, int]]) -> str:
        postings = [f"    {account}  0 MIN = {minutes} MIN\n" for account, minutes in balances]
        return f"\n{at_end_of} balances\n" + "".join(postings)


class _Hledger(_Ledger):
    directives = "commodity 1000. MIN\n"


class _Beancount:
    def account(self, account: str) -> str:
        return beancount_account(account)

    def head(self, ledger: str, notice: str | None) -> str:
        lines = [] if notice is None else ["; " + notice]
        lines += [f'option "title" "{ledger}: 分钟 minutes"', 'option "operating_currency" "MIN"']
        return "\n".join(lines) + "\n"

    def opened(self, account: str, day: date) -> str:
        return f"\n{day} open {account} MIN"

    def moved(self, when: When, position: int, type_: str, source: str, target: str, minutes: int) -> str:
        return (
            f'\n{when.day_text} * "{type_}"\n  fact: {position}\n  recorded: "{when.recorded}"\n'
            f"  {source}  {-minutes} MIN\n  {target}  {minutes} MIN\n"
        )

    def asserted(self, at_end_of: date, balances: list[tuple[str, int]]) -> str:
        # Its assertions are of the moment at which a day begins.
        day = at_end_of + timedelta(days=1)
        return "\n" + "".join([f"{day} balance {account}  {minutes} MIN\n" for account, minutes in balances])


LEDGER: Final = "journal.ledger"
HLEDGER: Final = "journal.hledger"
BEANCOUNT: Final = "journal.beancount"
_LEDGER_FORM, _BEANCOUNT_FORM = _Ledger(), _Beancount()
FORMS: Final[dict[str, Form]] = {LEDGER: _LEDGER_FORM, HLEDGER: _Hledger(), BEANCOUNT: _BEANCOUNT_FORM}
"""The forms by the names of their files."""


class PlainJournal:
    """One ledger's movements in all three forms, as text to be written behind what came before.

    Every function answers with a text a form, in the order of `FORMS`. ``balances`` are those of the movements so far,
    in minutes by account.
    """

    def __init__(self, ledger: str, zone: tzinfo, *, synthetic: bool) -> None:
        self._ledger = ledger
        self._zone = zone
        self._notice = SYNTHETIC_NOTICE if synthetic else None
        self.balances: dict[str, int] = {}
        self._names: dict[str, tuple[str, ...]] = {}
        self._moved: set[str] = set()
        """Accounts that moved in the month of the last movement."""
        self._when = When(date.min, "", "")
        self._recorded_at_microseconds: int | None = None

    def head(self) -> list[str]:
        return [form.head(self._ledger, self._notice) for form in FORMS.values()]

    def movement(self, position: int, recorded_at_microseconds: int, type_: str, fact: Movement) -> list[str]:
        """A movement, before it the accounts that it is the first of and the assertions of the month that it ends."""
        last = self._when.day
        if recorded_at_microseconds != self._recorded_at_microseconds:
            self._tell_time(recorded_at_microseconds)
        when = self._when
        before: list[str] | None = None
        if when.day is not last and self._moved and (last.year, last.month) != (when.day.year, when.day.month):
            before = self._asserted((last.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1))
            self._moved.clear()
        source, target, minutes, names = fact.source, fact.target, fact.minutes, self._names
        for account in (source, target):
            if account not in names:
                opened = self._open(account)
                before = opened if before is None else _both(before, opened)
        self._moved.update((source, target))
        balances = self.balances
        balances[source] -= minutes
        balances[target] += minutes
        sources, targets = names[source], names[target]
        # Of ledger and hledger the names and the transactions are the same.
        plain = _LEDGER_FORM.moved(when, position, type_, sources[0], targets[0], minutes)
        beancount = _BEANCOUNT_FORM.moved(when, position, type_, sources[2], targets[2], minutes)
        moved = [plain, plain, beancount]
        return moved if before is None else _both(before, moved)

    def end(self) -> list[str]:
        """What every account holds at the end."""
        if not self.balances:
            return ["", "", ""]
        return self._asserted(self._when.day, self.balances)

    def _open(self, account: str) -> list[str]:
        self.balances[account] = 0
        names = self._names[account] = tuple(form.account(account) for form in FORMS.values())
        return [form.opened(name, self._when.day) for form, name in zip(FORMS.values(), names, strict=True)]

    def _tell_time(self, recorded_at_microseconds: int) -> None:
        # Not by a fraction of seconds, which has too few digits for microseconds.
        instant = (_EPOCH + timedelta(microseconds=recorded_at_microseconds)).astimezone(self._zone)
        self._recorded_at_microseconds = recorded_at_microseconds
        # Recorded-at never goes back, but clocks that are put back at midnight give a day twice.
        day = max(self._when.day, instant.date())
        self._when = When(day, str(day), instant.isoformat(timespec="microseconds"))

    def _asserted(self, at_end_of: date, accounts: Iterable[str] | None = None) -> list[str]:
        """What these accounts hold; without any, the households that moved."""
        if accounts is None:
            accounts = (account for account in self._moved if account.startswith(_HOUSEHOLD))
        told = sorted(accounts)
        if not told:
            return ["", "", ""]
        return [
            form.asserted(at_end_of, [(self._names[account][at], self.balances[account]) for account in told])
            for at, form in enumerate(FORMS.values())
        ]


def _both(texts: list[str], more: list[str]) -> list[str]:
    return [text + another for text, another in zip(texts, more, strict=True)]
