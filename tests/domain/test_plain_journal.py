"""The plain-text journals: every movement with both postings, what is held asserted each month, and names that no tool
reads as another. That the tools themselves agree is tested in `tests/judge/`."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.account import HoursConfirmed, HoursReversed, MinutesGranted
from domain.fact import Movement
from domain.plain_journal import BEANCOUNT, FORMS, HLEDGER, LEDGER, PlainJournal, beancount_account, plain_account
from tests.controls import FACT_EXAMPLES, HOURS_CONFIRMED, HOURS_REVERSED, POOL_FUNDED, ZONE

MOVEMENTS = [fact for fact in FACT_EXAMPLES if isinstance(fact, Movement)]


def microseconds(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def journal(*movements: tuple[str, Movement], zone: ZoneInfo = ZONE) -> dict[str, str]:
    """The three journals of movements that were recorded at such times, from position 11 on."""
    plain = PlainJournal("qingxiu", zone, synthetic=False)
    texts = plain.head()
    for position, (recorded_at, fact) in enumerate(movements, 11):
        more = plain.movement(position, microseconds(recorded_at), fact.type, fact)
        texts = [text + another for text, another in zip(texts, more, strict=True)]
    texts = [text + another for text, another in zip(texts, plain.end(), strict=True)]
    return dict(zip(FORMS, texts, strict=True))


def test_a_movement_is_a_transaction_of_whole_minutes_with_both_postings_and_its_fact() -> None:
    written = journal(("2026-10-31T16:30:00.000001+00:00", HOURS_CONFIRMED))
    assert written[LEDGER] == (
        "; qingxiu: 分钟 minutes\n"
        "\n"
        "commodity MIN\n"
        "tag fact\n"
        "tag recorded\n"
        "\n"
        "account issuance\n"
        "account household:H1\n"
        "2026-11-01 hours-confirmed.v1\n"
        "    ; fact: 11\n"
        "    ; recorded: 2026-11-01T00:30:00.000001+08:00\n"
        "    issuance  -90 MIN\n"
        "    household:H1  90 MIN\n"
        "\n"
        "2026-11-01 balances\n"
        "    household:H1  0 MIN = 90 MIN\n"
        "    issuance  0 MIN = -90 MIN\n"
    )
    assert written[HLEDGER] == written[LEDGER].replace("commodity MIN\ntag fact\ntag recorded", "commodity 1000. MIN")
    assert written[BEANCOUNT] == (
        'option "title" "qingxiu: 分钟 minutes"\n'
        'option "operating_currency" "MIN"\n'
        "\n"
        "2026-11-01 open Equity:Issuance MIN\n"
        "2026-11-01 open Assets:Household:H1 MIN\n"
        '2026-11-01 * "hours-confirmed.v1"\n'
        "  fact: 11\n"
        '  recorded: "2026-11-01T00:30:00.000001+08:00"\n'
        "  Equity:Issuance  -90 MIN\n"
        "  Assets:Household:H1  90 MIN\n"
        "\n"
        "2026-11-02 balance Assets:Household:H1  90 MIN\n"
        "2026-11-02 balance Equity:Issuance  -90 MIN\n"
    )


def test_a_reversal_is_a_transaction_of_its_own_that_takes_back_the_same_minutes() -> None:
    written = journal(("2026-10-03T09:00+08:00", HOURS_CONFIRMED), ("2026-10-04T09:00+08:00", HOURS_REVERSED))
    assert written[LEDGER].count("90 MIN\n    ") == 2
    assert "    household:H1  -90 MIN\n    issuance  90 MIN\n" in written[LEDGER]
    assert "household:H1  0 MIN = 0 MIN" in written[LEDGER]


@pytest.mark.parametrize("fact", MOVEMENTS, ids=lambda fact: fact.type)
def test_every_type_of_fact_that_moves_minutes_is_written(fact: Movement) -> None:
    for name, text in journal(("2026-10-03T09:00+08:00", fact)).items():
        form = FORMS[name]
        assert fact.type in text
        assert f"{form.account(fact.source)}  {-fact.minutes} MIN\n" in text
        assert f"{form.account(fact.target)}  {fact.minutes} MIN\n" in text


def test_a_household_is_asserted_at_the_end_of_each_month_that_it_moved_in_and_everything_at_the_end() -> None:
    other = HoursConfirmed("issuance", "household:H2", 30, "R2", "S2")
    grant = MinutesGranted("pool:新竹社区", "household:H2", 20, "S2", "illness")
    written = journal(
        ("2026-10-03T09:00+08:00", HOURS_CONFIRMED),
        ("2026-10-31T23:59:59.999999+08:00", other),
        ("2026-12-01T00:00+08:00", POOL_FUNDED),
        ("2027-01-05T00:00+08:00", grant),
    )
    asserted = re.findall(r"^(\S+) balances\n((?:    .*\n)+)", written[LEDGER], re.MULTILINE)
    assert [(day, re.findall(r"(\S+)  0 MIN = (-?\d+) MIN", block)) for day, block in asserted] == [
        ("2026-10-31", [("household:H1", "90"), ("household:H2", "30")]),
        (
            "2027-01-05",
            [("household:H1", "90"), ("household:H2", "50"), ("issuance", "-720"), ("pool:新竹社区", "580")],
        ),
    ]
    assert re.findall(r"^(\S+) balance (\S+)", written[BEANCOUNT], re.MULTILINE)[:3] == [
        ("2026-11-01", "Assets:Household:H1"),
        ("2026-11-01", "Assets:Household:H2"),
        ("2027-01-06", "Assets:Household:H1"),
    ]


def test_a_ledger_in_which_nothing_moved_is_a_journal_without_transactions() -> None:
    assert journal() == dict(zip(FORMS, PlainJournal("qingxiu", ZONE, synthetic=False).head(), strict=True))


def test_a_synthetic_ledger_says_so_in_every_journal() -> None:
    assert all("合成数据" in text for text in PlainJournal("qingxiu", ZONE, synthetic=True).head())


def test_days_never_go_back_where_clocks_do_at_midnight() -> None:
    # In Beirut the 31st of October 1999 began twice: at 21:00 UTC it was the 30th, 23:00, again.
    zone = ZoneInfo("Asia/Beirut")
    first, again = datetime(1999, 10, 30, 20, 59, tzinfo=UTC), datetime(1999, 10, 30, 21, 1, tzinfo=UTC)
    assert first.astimezone(zone).utcoffset() == again.astimezone(zone).utcoffset() + timedelta(hours=1)  # type: ignore[operator]
    days = re.findall(
        r"^(\S+) hours-",
        journal(
            ("1999-10-30T21:00:00+00:00", HOURS_CONFIRMED), ("1999-10-30T21:01:00+00:00", HOURS_REVERSED), zone=zone
        )[LEDGER],
        re.MULTILINE,
    )
    assert days == sorted(days)


def test_times_have_all_their_digits() -> None:
    plain = PlainJournal("qingxiu", UTC, synthetic=False)
    (written, *_) = plain.movement(1, 1_761_000_000_000_003, HoursReversed.type, HOURS_REVERSED)
    assert "recorded: 2025-10-20T22:40:00.000003+00:00" in written


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("account", "plain", "beancount"),
    [
        ("issuance", "issuance", "Equity:Issuance"),
        ("household:H00001", "household:H00001", "Assets:Household:H00001"),
        ("household:h-1_a.b", "household:h-1_a.b", "Assets:Household:Xh--1-5f-a-2e-b"),
        ("household:X1", "household:X1", "Assets:Household:XX1"),
        ("household:0-7", "household:0-7", "Assets:Household:0--7"),
        ("pool:新竹社区", "pool:新竹社区", "Assets:Pool:X新竹社区"),
        ("pool:新竹（北） 二;", "pool:新竹（北）%20二%3B", "Assets:Pool:X新竹-ff08-北-ff09--20-二-3b-"),
        ("pool:𠮷祥\u3000社区", "pool:𠮷祥%E3%80%80社区", "Assets:Pool:X-20bb7-祥-3000-社区"),
        ("ledger:xingning", "ledger:xingning", "Equity:Ledger:Xxingning"),
        ("group:G:1", "group:G%3A1", "Assets:Group:G-3a-1"),
    ],
)
def test_an_account_is_named_so_that_each_tool_takes_it(account: str, plain: str, beancount: str) -> None:
    assert plain_account(account) == plain
    assert beancount_account(account) == beancount


names = st.text(min_size=1, max_size=12)
ACCOUNTS = st.sampled_from(["issuance", "household:A", "household:B", "pool:C"])


@given(names, names)
def test_no_two_accounts_are_given_one_name(one: str, other: str) -> None:
    for form in FORMS.values():
        accounts = {form.account("pool:" + one), form.account("pool:" + other), form.account("household:" + one)}
        assert len(accounts) == len({one, other}) + 1


@given(names)
def test_whatever_a_name_holds_each_tool_reads_one_account_of_one_word(name: str) -> None:
    plain = plain_account("pool:" + name)
    assert not re.search(r"[\s;|*()\[\]{}=@\"]", plain)
    assert plain.count(":") == 1
    # The components that beancount allows, as far as they are used here.
    assert re.fullmatch(
        r"Assets:Pool:[A-Z0-9][A-Za-z0-9\u3400-\u4dbf\u4e00-\u9fff-]*", beancount_account("pool:" + name)
    )


@given(
    st.lists(
        st.tuples(ACCOUNTS, ACCOUNTS, st.integers(0, 500), st.integers(0, 40 * 86_400)),
        max_size=30,
    )
)
def test_what_is_asserted_is_what_the_postings_before_it_come_to(moves: list[tuple[str, str, int, int]]) -> None:
    seconds = 1_790_000_000
    plain = PlainJournal("qingxiu", ZONE, synthetic=True)
    text = ""
    for position, (source, target, minutes, later) in enumerate(moves, 1):
        seconds += later
        fact = HoursConfirmed(source, target, minutes, f"R{position}", "S1")
        text += plain.movement(position, seconds * 1_000_000, fact.type, fact)[0]
    text += plain.end()[0]
    held: dict[str, int] = {}
    for account, minutes_, asserted in re.findall(r"^    (\S+)  (-?\d+) MIN(?: = (-?\d+) MIN)?$", text, re.MULTILINE):
        held[account] = held.get(account, 0) + int(minutes_)
        assert not asserted or int(asserted) == held[account]
    assert {name: held.get(name) for name in plain.balances} == plain.balances
    assert sum(plain.balances.values()) == 0
