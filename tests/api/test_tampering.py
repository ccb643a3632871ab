"""Whatever somebody with full rights over the database, or over a bundle, changes: it is found, and named.

Two tables, one kind of tampering a row. In most somebody changes what is stored and nothing else. In the last ones they
also hold the ledger's key, and seal and sign everything anew: then the rules, or a checkpoint that was kept, tell.
"""

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api import disclosure, inspection, replay, verification
from api.bundle import export
from api.wiring import Timebank, timebank
from application.bundle import (
    BALANCES,
    CHECKPOINT,
    FACTS_FILE,
    FIGURES,
    LOG_KEYS,
    MANIFEST,
    SUCCESSIONS,
    FactLine,
    entries_path,
    policy_path,
    tile_path,
)
from application.finding import (
    BACK_IN_TIME,
    BEFORE_DECIDED,
    BUNDLE,
    CHANGED,
    COSIGNATURE,
    COUNTED_OTHERWISE,
    DRAWN_OTHERWISE,
    ENTRIES,
    FILE_CHANGED,
    FILE_MISSING,
    FILE_UNLISTED,
    GAP,
    INSERTED,
    KEYS,
    LINE_CHANGED,
    LOG_HEAD,
    NO_CHECKPOINT,
    NO_COMMAND,
    OTHER_POLICY,
    OTHER_ROOT,
    OTHER_TAGS,
    OTHERWISE,
    PLAIN,
    POLICIES,
    PROJECTION,
    REFUSED,
    REMOVED,
    REPEATED,
    SEALED_OTHERWISE,
    SWAPPED,
    TAGS_INDEX,
    TAIL_REMOVED,
    TILE,
    UNREADABLE,
    UNSIGNED,
    Finding,
    Findings,
)
from application.finding import BALANCES as BALANCE
from application.finding import FIGURES as FIGURE
from application.scenes import served_by
from application.write_loop import Ticket, new_id
from domain.account import FundPool, HoursConfirmed, HoursReversed, PoolFunded, fund_pool
from domain.certificate import CertificateIssued, IssueCertificate, issue_certificate
from domain.checkpoint import Checkpoint
from domain.decision import Actor
from domain.disclosure import PeriodSealed, seal_period
from domain.fact import Fact
from domain.hours import ConfirmHours, HoursLogged, LogHours, ReverseHours, confirm, log, reverse
from domain.household import MemberRegistered, VolunteerEnrolled
from domain.inspection import SampleDrawn, SampleWanted, draw_sample
from domain.leaf import bundle, encoder
from domain.merkle import HASH_BYTES, TILE_HASHES, Frontier, Tile, leaf_hashes
from domain.plain_journal import BEANCOUNT, HLEDGER, LEDGER
from domain.statement import VerifierKey
from infrastructure.codec import decode
from infrastructure.signing import CosigningKey, SigningKey, create_key, read_key, rotate_key
from tests.api.service import XINZHU
from tests.conftest import new_database, settings_for

VOLUNTEER, CLERK, SECOND, ADMIN = "V00001", Actor("S0101", "staff"), Actor("S0102", "staff"), Actor("D001", "admin")
AUDITOR = Actor("U001", "auditor")
TABLES: Final = ("ledgers", "facts", "fact_tags", "tag_heads", "log_tiles", "log_heads", "log_checkpoints")


def live(bank: Timebank) -> None:
    """Some days after the import: hours, a reversal, a pool that is funded, two certificates, a month that is sealed,
    and a sample that is drawn."""
    today = datetime.now(bank.zone).replace(hour=0, minute=0, second=0, microsecond=0)

    def run(decide: Any, command: Any, actor: Actor) -> None:
        bank.run(Ticket(decide, command, actor, new_id().replace("-", "")))

    for record, hour in (("T1", 6), ("T2", 4)):
        start = today - timedelta(days=1, hours=-hour)
        hours = LogHours(
            record=record, volunteer=VOLUNTEER, service="助餐", started_at=start, ended_at=start + timedelta(hours=1)
        )
        run(log, hours, CLERK)
        run(confirm, ConfirmHours(record=record), SECOND)
    run(reverse, ReverseHours(record="T2", reason="other"), SECOND)
    run(fund_pool, FundPool(community=XINZHU, minutes=600), ADMIN)
    for _ in range(2):
        since, until = today.date() - timedelta(days=40), today.date()
        certificate = IssueCertificate(
            volunteer=VOLUNTEER,
            since=since,
            until=until,
            in_charge="S0100",
            contact="0771-0000000",
            in_charge_name=None,
            handler_name=None,
            counted=served_by(bank.store, VOLUNTEER, since, until, datetime.now(bank.zone)),
            code_sha256="c" * 64,
            kept_sha256="d" * 64,
        )
        run(issue_certificate, certificate, CLERK)
    fold(bank)
    run(seal_period, disclosure.prepared(bank, f"{today.replace(day=1) - timedelta(days=1):%Y-%m}"), ADMIN)
    run(draw_sample, inspection.prepared(bank, SampleWanted(seed="03 08 14 21 27 30 + 11", count=5)), AUDITOR)


def sign(bank: Timebank) -> None:
    with closing(bank.sealer()) as sealer:
        sealer.catch_up()
        assert sealer.sign() is not None


def fold(bank: Timebank) -> None:
    bank.catch_up()


@pytest.fixture(scope="module")
def bank(server_url: str, sample_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timebank]:
    """The small district with some days of life after it, sealed, and signed twice: two days ago, and now."""
    data = tmp_path_factory.mktemp("tampering") / "data"
    with new_database(server_url, sample_template) as address:
        settings = settings_for(address).model_copy(update={"data": data})
        with timebank(settings) as opened:
            create_key(data, opened.name)
            rotate_key(data, opened.name, datetime.now(opened.zone))
            sign(opened)
            with psycopg.connect(address) as connection:
                connection.execute("UPDATE log_checkpoints SET signed_at = signed_at - interval '2 days'")
            live(opened)
            sign(opened)
            fold(opened)
            yield opened


Expected = tuple[str, str, int | str]
"""A finding's kind, its refusal's code, and where it is: the position of a fact, or else a place."""


def is_found(findings: Findings, expected: Expected) -> bool:
    kind, code, where = expected
    return any(
        (one.kind, one.code) == (kind, code) and where in (one.position, one.place) for one in findings.found
    ) and bool(findings.counts[kind, code])


# ── The database ─────────────────────────────────────────────────────────────────────────────────────────────────


class Database:
    """A ledger's database in the hands of somebody who may do anything to it."""

    def __init__(self, bank: Timebank) -> None:
        self.bank = bank
        self.head = bank.store.head()
        self.facts: list[Fact] = [r.envelope.fact for batch in bank.store.scan() for r in batch]
        with psycopg.connect(bank.owner_address) as connection:
            connection.execute("SELECT index_facts(%s, %s)", (bank.name, self.head))
            for table in TABLES:
                connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL".encode())
                connection.execute(f"CREATE TABLE IF NOT EXISTS kept_{table} AS TABLE {table}".encode())

    def sql(self, statement: str, **parameters: object) -> None:
        with psycopg.connect(self.bank.owner_address) as connection:
            connection.execute("SET search_path TO public, projection_qingxiu")
            connection.execute(statement.encode(), parameters or None)

    def restore(self) -> None:
        with psycopg.connect(self.bank.owner_address) as connection:
            for table in TABLES:
                connection.execute(f"TRUNCATE {table}".encode())
                overriding = "OVERRIDING SYSTEM VALUE" if table == "log_checkpoints" else ""
                connection.execute(f"INSERT INTO {table} {overriding} TABLE kept_{table}".encode())

    def rebuild(self) -> None:
        with closing(self.bank.projector()) as projector:
            projector.rebuild()

    def where(self, kind: type[Fact], last: bool = False) -> int:
        positions = [position for position, fact in enumerate(self.facts, 1) if isinstance(fact, kind)]
        return positions[-1 if last else 0]

    def edit(self, position: int, old: str, new: str) -> None:
        """Change the stored bytes of one fact."""
        ((data,),) = self.rows("SELECT data FROM facts WHERE ledger = 'qingxiu' AND position = %s", position)
        assert old.encode() in data
        self.set(position, "data", data.replace(old.encode(), new.encode(), 1))

    def set(self, position: int, column: str, value: object) -> None:
        self.sql(
            f"UPDATE facts SET {column} = %(value)s WHERE ledger = 'qingxiu' AND position = %(position)s",
            value=value,
            position=position,
        )

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.bank.owner_address) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def shift(self, first: int, by: int) -> None:
        """Renumber all facts from one on, as if one before them were missing or new."""
        for step in (1_000_000, by - 1_000_000):
            self.sql(
                "UPDATE facts SET position = position + %(step)s WHERE ledger = 'qingxiu' AND position >= %(first)s",
                step=step,
                first=first,
            )
        self.sql("UPDATE ledgers SET head = head + %(by)s WHERE ledger = 'qingxiu'", by=by)
        self.index()

    def delete(self, position: int) -> None:
        self.sql("DELETE FROM facts WHERE ledger = 'qingxiu' AND position = %(position)s", position=position)

    def copy(self, source: int, target: int) -> None:
        """One fact once more, elsewhere."""
        self.sql(
            "INSERT INTO facts SELECT ledger, %(target)s, recorded_at, type, tags, data FROM facts"
            " WHERE ledger = 'qingxiu' AND position = %(source)s",
            source=source,
            target=target,
        )

    def insert(self, source: int, target: int) -> None:
        self.shift(target, 1)
        self.copy(source + (source >= target), target)
        self.index()

    def index(self) -> None:
        """Make the index of tags anew, as one who knows how would."""
        self.sql("TRUNCATE fact_tags, tag_heads")
        self.sql("INSERT INTO tag_heads SELECT ledger, head FROM ledgers")
        self.sql(f"INSERT INTO fact_tags {replay._WANTED_KEYS}")

    def reseal(self, *, keep_older: bool = False) -> None:
        """Seal and sign everything anew with the ledger's own key."""
        self.index()
        for table in ("log_tiles", "log_heads"):
            self.sql(f"DELETE FROM {table} WHERE ledger = 'qingxiu'")
        only = " AND size = (SELECT max(size) FROM log_checkpoints)" if keep_older else ""
        self.sql(f"DELETE FROM log_checkpoints WHERE ledger = 'qingxiu'{only}")
        older = self.rows("SELECT * FROM log_checkpoints")
        self.sql("DELETE FROM log_checkpoints")
        sign(self.bank)
        for number, ledger, size, note, signed_at in older:
            self.sql(
                "INSERT INTO log_checkpoints (number, ledger, size, note, signed_at) OVERRIDING SYSTEM VALUE"
                " VALUES (%(number)s, %(ledger)s, %(size)s, %(note)s, %(signed_at)s)",
                number=number,
                ledger=ledger,
                size=size,
                note=note,
                signed_at=signed_at,
            )


@pytest.fixture(scope="module")
def open_database(bank: Timebank) -> Database:
    return Database(bank)


@pytest.fixture
def database(open_database: Database) -> Iterator[Database]:
    yield open_database
    open_database.restore()


@dataclass(frozen=True)
class Row:
    """One kind of tampering: what is done, and what is to be found at least. ``first`` where it is told first."""

    name: str
    tamper: Callable[[Any], object]
    expects: Callable[[Any], Expected]
    first: bool = True
    rebuilds: bool = False
    trusted: bool = True
    witnessed: bool = False


def at(kind: str, position: Callable[[Any], int | str], code: str = "") -> Callable[[Any], Expected]:
    return lambda tampered: (kind, code, position(tampered))


def confirmed(tampered: Any) -> int:
    return int(tampered.where(HoursConfirmed, last=True))


def logged(tampered: Any) -> int:
    return int(tampered.where(HoursLogged, last=True))


def funded(tampered: Any) -> int:
    return int(tampered.where(PoolFunded))


def certified(tampered: Any) -> int:
    return int(tampered.where(CertificateIssued, last=True))


def sealed(tampered: Any) -> int:
    return int(tampered.where(PeriodSealed))


def drawn(tampered: Any) -> int:
    return int(tampered.where(SampleDrawn))


def seal_more(tampered: Any) -> None:
    """An hour more than there was in the sealed month."""
    minutes = tampered.facts[sealed(tampered) - 1].service_minutes
    tampered.edit(sealed(tampered), f'"service_minutes":{minutes}', f'"service_minutes":{minutes + 60}')


def draw_another(tampered: Any) -> None:
    """A record that suits better in the place of the one that was drawn first."""
    records = tampered.facts[drawn(tampered) - 1].records
    other = next(one.record for one in tampered.facts if isinstance(one, HoursLogged) and one.record not in records)
    tampered.edit(drawn(tampered), f'"records":["{records[0]}"', f'"records":["{other}"')


def after(position: Callable[[Any], int]) -> Callable[[Any], int]:
    return lambda tampered: position(tampered) + 1


def swap(database: Database, one: int, other: int) -> None:
    for source, target in ((one, 9_000_000), (other, one), (9_000_000, other)):
        database.sql(
            "UPDATE facts SET position = %(target)s WHERE ledger = 'qingxiu' AND position = %(source)s",
            source=source,
            target=target,
        )


def remove(database: Database, position: int) -> None:
    database.delete(position)
    database.shift(position + 1, -1)


def cut(database: Database) -> None:
    for position in range(database.head - 2, database.head + 1):
        database.delete(position)
    database.sql("UPDATE ledgers SET head = head - 3 WHERE ledger = 'qingxiu'")
    database.index()


def resealed(change: Callable[[Database], object], *, keep_older: bool = False) -> Callable[[Database], None]:
    def tamper(database: Database) -> None:
        change(database)
        database.reseal(keep_older=keep_older)

    return tamper


def certify_reversed(tampered: Any) -> None:
    """The hour of T2 on the last certificate, too."""
    fact = tampered.facts[certified(tampered) - 1]
    minutes = fact.service_minutes
    tampered.edit(certified(tampered), f'"service_minutes":{minutes}', f'"service_minutes":{minutes + 60}')
    service = next(one for one in fact.services if one.service == "助餐")
    written = f'"service":"助餐","minutes":{service.minutes}'
    tampered.edit(certified(tampered), written, f'"service":"助餐","minutes":{service.minutes + 60}')


NEWEST = "(SELECT max(number) FROM log_checkpoints WHERE ledger = 'qingxiu')"


def newest(database: Database) -> str:
    return f"log_checkpoints {database.head}"


ON_THE_DATABASE: Final = (
    Row("a byte of a fact", lambda d: d.edit(logged(d), "助餐", "助洁"), at(CHANGED, logged)),
    Row("minutes", lambda d: d.edit(confirmed(d), '"minutes":60', '"minutes":61'), at(CHANGED, confirmed)),
    Row("an actor", lambda d: d.edit(confirmed(d), '"actor":"S0102"', '"actor":"S0103"'), at(CHANGED, confirmed)),
    Row("a policy version", lambda d: d.edit(logged(d), '"policy":1', '"policy":2'), at(CHANGED, logged)),
    Row("a time of decision", lambda d: d.edit(funded(d), '"decided_at":"2', '"decided_at":"1'), at(CHANGED, funded)),
    Row("a type", lambda d: d.set(funded(d), "type", "minutes-capped.v1"), at(CHANGED, funded)),
    Row("an unknown type", lambda d: d.set(funded(d), "type", "pool-funded.v9"), at(UNREADABLE, funded), first=False),
    Row("a tag", lambda d: d.set(confirmed(d), "tags", ["record:T9", "account:x"]), at(CHANGED, confirmed)),
    Row(
        "a time of recording",
        lambda d: d.sql(
            "UPDATE facts SET recorded_at = recorded_at - interval '1 second' WHERE ledger = 'qingxiu' AND position = "
            + str(funded(d))
        ),
        at(BACK_IN_TIME, funded),
        first=False,
    ),
    Row("bytes that are no fact", lambda d: d.set(funded(d), "data", b"{}"), at(UNREADABLE, funded), first=False),
    Row("a swapped pair", lambda d: swap(d, logged(d), logged(d) + 1), at(SWAPPED, logged)),
    Row("a removed fact", lambda d: d.delete(logged(d)), at(REMOVED, logged)),
    Row("a removed fact, the others moved up", lambda d: remove(d, logged(d)), at(REMOVED, logged)),
    Row("a removed tail", cut, at(TAIL_REMOVED, lambda d: d.head - 2)),
    Row("an inserted fact", lambda d: d.insert(funded(d), logged(d)), at(INSERTED, logged), rebuilds=True),
    Row(
        "a fact beyond the head",
        lambda d: (d.copy(funded(d), d.head + 1), d.index()),
        at(INSERTED, lambda d: d.head + 1),
    ),
    Row(
        "a tile",
        lambda d: d.sql(
            "UPDATE log_tiles SET hashes = set_byte(hashes, 40, get_byte(hashes, 40) # 1) WHERE number = 1"
        ),
        at(TILE, lambda _: "log/tile/0/001"),
    ),
    Row(
        "a missing tile",
        lambda d: d.sql("DELETE FROM log_tiles WHERE number = 1"),
        at(TILE, lambda _: "log/tile/0/001"),
    ),
    Row(
        "a tile too many",
        lambda d: d.sql("INSERT INTO log_tiles SELECT ledger, level, 99, hashes FROM log_tiles WHERE number = 1"),
        at(LOG_HEAD, lambda _: "log_heads"),
    ),
    Row(
        "a partial tile",
        lambda d: d.sql("UPDATE log_heads SET partial[1] = set_byte(partial[1], 0, get_byte(partial[1], 0) # 1)"),
        at(TILE, lambda d: f"log/tile/0/{d.head // 256:03}.p/{d.head % 256}"),
    ),
    Row(
        "a partial tile of a higher level",
        lambda d: d.sql("UPDATE log_heads SET partial[2] = set_byte(partial[2], 0, get_byte(partial[2], 0) # 1)"),
        at(TILE, lambda d: f"log/tile/1/000.p/{d.head // 256}"),
        first=False,
    ),
    Row(
        "a log cut short",
        lambda d: d.sql(
            "UPDATE log_heads SET size = size - 1, partial[1] = substr(partial[1], 1, octet_length(partial[1]) - 32)"
        ),
        at(LOG_HEAD, newest),
    ),
    Row(
        "a log's size alone",
        lambda d: d.sql("UPDATE log_heads SET size = size - 1"),
        at(LOG_HEAD, lambda _: "log_heads"),
        first=False,
    ),
    Row(
        "a checkpoint's root",
        lambda d: d.sql(
            "UPDATE log_checkpoints SET note = regexp_replace(note, '\\n[A-Za-z0-9+/]{43}=', %(root)s)"
            f" WHERE number = {NEWEST}",
            root="\n" + base64.b64encode(bytes(32)).decode(),
        ),
        at(UNSIGNED, newest),
    ),
    Row(
        "a checkpoint's signature",
        lambda d: d.sql(
            "UPDATE log_checkpoints SET note = overlay(note PLACING 'AAAA' FROM length(note) - 20 FOR 4)"
            f" WHERE number = {NEWEST}"
        ),
        at(UNSIGNED, newest),
    ),
    Row(
        "the size beside a checkpoint",
        lambda d: d.sql(f"UPDATE log_checkpoints SET size = size - 1 WHERE number = {NEWEST}"),
        at(NO_CHECKPOINT, lambda d: f"log_checkpoints {d.head - 1}"),
    ),
    Row(
        "a checkpoint that is none",
        lambda d: d.sql(f"UPDATE log_checkpoints SET note = 'x' WHERE number = {NEWEST}"),
        at(NO_CHECKPOINT, newest),
    ),
    Row(
        "another ledger's checkpoint",
        lambda d: d.sql(f"UPDATE log_checkpoints SET note = replace(note, 'qingxiu', 'xixiu') WHERE number = {NEWEST}"),
        at(NO_CHECKPOINT, newest),
    ),
    Row(
        "an entry missing of the index of tags",
        lambda d: d.sql(
            "DELETE FROM fact_tags WHERE tag_key & 1073741823 = " + str(logged(d)),
        ),
        at(TAGS_INDEX, logged),
    ),
    Row(
        "an entry too many in the index of tags",
        lambda d: d.sql("INSERT INTO fact_tags VALUES ((77::bigint << 30) | 5)"),
        at(TAGS_INDEX, lambda _: 5),
    ),
    Row(
        "an index of tags that is said to reach further than it does",
        lambda d: d.sql("UPDATE tag_heads SET head = head + 9 WHERE ledger = 'qingxiu'"),
        at(TAGS_INDEX, lambda d: d.head + 1),
    ),
    Row(
        "an edited projection",
        lambda d: d.sql("UPDATE accounts SET balance_minutes = balance_minutes + 60 WHERE account = 'pool:新竹社区'"),
        at(PROJECTION, lambda _: "row accounts pool:新竹社区"),
        first=False,
        rebuilds=True,
    ),
    Row(
        "a projection's row that is missing",
        lambda d: d.sql("DELETE FROM hours WHERE record = 'T1'"),
        at(PROJECTION, lambda _: "row hours T1"),
        first=False,
        rebuilds=True,
    ),
    Row(
        "a tree rewritten without signing",
        lambda d: (d.edit(logged(d), "助餐", "助洁"), rewrite_tree(d)),
        at(OTHER_ROOT, newest),
    ),
    # Whoever holds the key, too:
    Row(
        "a tree rewritten with a fresh signature, an older checkpoint kept",
        resealed(lambda d: d.edit(d.where(MemberRegistered), '"member":"V', '"member":"W'), keep_older=True),
        lambda d: (OTHER_ROOT, "", f"log_checkpoints {older_size(d)}"),
        rebuilds=True,
    ),
    Row(
        "hours that were confirmed by who logged them",
        resealed(
            lambda d: (
                d.edit(confirmed(d), '"actor":"S0102"', '"actor":"S0101"'),
                d.edit(confirmed(d), '"confirmed_by":"S0102"', '"confirmed_by":"S0101"'),
            )
        ),
        at(REFUSED, confirmed, "confirmed-by-logger"),
    ),
    Row(
        "minutes that nobody served",
        resealed(lambda d: d.edit(confirmed(d), '"minutes":60', '"minutes":6000')),
        at(OTHERWISE, confirmed),
    ),
    Row(
        "a pool that was funded with less than nothing",
        resealed(lambda d: d.edit(funded(d), '"minutes":600', '"minutes":-600')),
        at(NO_COMMAND, funded),
    ),
    Row(
        "a re-used certificate number",
        resealed(lambda d: d.edit(certified(d), '-000002"', '-000001"')),
        at(OTHERWISE, certified),
        first=False,
    ),
    Row(
        "a certificate for a reversed record",
        resealed(certify_reversed),
        at(COUNTED_OTHERWISE, certified),
    ),
    Row("a seal's figures, signed anew", resealed(seal_more), at(SEALED_OTHERWISE, sealed)),
    Row("a draw's records, signed anew", resealed(draw_another), at(DRAWN_OTHERWISE, drawn)),
    Row(
        "a reversal left out",
        resealed(lambda d: remove(d, d.where(HoursReversed, last=True))),
        at(COUNTED_OTHERWISE, lambda d: certified(d) - 2),
        rebuilds=True,
    ),
    Row(
        "a policy version, signed anew",
        resealed(lambda d: d.edit(logged(d), '"policy":1', '"policy":2')),
        at(OTHER_POLICY, logged),
    ),
    Row(
        "tags that hide a fact, signed anew",
        resealed(lambda d: d.set(logged(d), "tags", [])),
        at(OTHER_TAGS, logged),
    ),
    Row(
        "a time of decision, signed anew",
        resealed(lambda d: d.edit(logged(d), '"decided_at":"2', '"decided_at":"3')),
        at(BEFORE_DECIDED, logged),
    ),
    Row(
        "a command once more, signed anew",
        resealed(lambda d: d.insert(funded(d), d.head + 1)),
        at(REPEATED, lambda d: d.head + 1),
        first=False,
        rebuilds=True,
    ),
    Row(
        "a time of recording, signed anew",
        resealed(
            lambda d: d.sql(
                "UPDATE facts SET recorded_at = recorded_at - interval '1 second'"
                " WHERE ledger = 'qingxiu' AND position = " + str(funded(d))
            )
        ),
        at(BACK_IN_TIME, funded),
        first=False,
    ),
)


def older_size(database: Database) -> int:
    ((size,),) = database.rows("SELECT min(size) FROM kept_log_checkpoints WHERE ledger = 'qingxiu'")
    return int(size)


def rewrite_tree(database: Database) -> None:
    """Tiles and head of the facts as they are now; nobody has signed them."""
    kept = database.rows("SELECT * FROM log_checkpoints")
    database.reseal()
    database.sql("DELETE FROM log_checkpoints")
    for number, ledger, size, note, signed_at in kept:
        database.sql(
            "INSERT INTO log_checkpoints (number, ledger, size, note, signed_at) OVERRIDING SYSTEM VALUE"
            " VALUES (%(number)s, %(ledger)s, %(size)s, %(note)s, %(signed_at)s)",
            number=number,
            ledger=ledger,
            size=size,
            note=note,
            signed_at=signed_at,
        )


def test_the_ledger_that_nobody_touched_is_found_as_it_should_be(database: Database) -> None:
    findings, content = replay.audited(database.bank)
    assert findings.found == []
    assert (content["position"], content["facts_sealed"], content["facts_unsealed"]) == (
        database.head,
        database.head,
        0,
    )
    assert (content["checkpoints"], content["seals"], content["samples"]) == (2, 1, 1)
    for to in (0, 1, older_size(database), database.head - 1):
        findings, content = replay.audited(database.bank, to)
        assert (findings.found, content["position"]) == ([], to)


@pytest.mark.parametrize("row", ON_THE_DATABASE, ids=lambda row: row.name)
def test_tampering_with_the_database_is_found_and_named(database: Database, row: Row) -> None:
    row.tamper(database)
    expected = row.expects(database)
    findings, _ = replay.audited(database.bank)
    if row.rebuilds:
        database.restore()
        database.rebuild()
    assert is_found(findings, expected), (expected, findings.found)
    if row.first:
        first = findings.found[0]
        assert expected[0] == first.kind, (expected, first)
        assert expected[2] in (first.position, first.place), (expected, first)
    assert all(one.told_zh and one.told_en for one in findings.found)


# ── The bundle ───────────────────────────────────────────────────────────────────────────────────────────────────


class Bundle:
    """A bundle in the hands of somebody who may do anything to it, and who may hold the ledger's key."""

    def __init__(self, directory: Path, key: SigningKey) -> None:
        self.directory = directory
        self.key = key
        self.lines = (directory / FACTS_FILE).read_bytes().splitlines()
        self.head = len(self.lines)
        self.facts: list[Fact] = [self.fact(position) for position in range(1, self.head + 1)]

    def line(self, position: int) -> FactLine:
        return msgspec.json.decode(self.lines[position - 1], type=FactLine)

    def fact(self, position: int) -> Fact:
        line = self.line(position)
        fact: Fact = decode(line.type, bytes(line.data)).fact
        return fact

    where = Database.where

    def write(self) -> None:
        (self.directory / FACTS_FILE).write_bytes(b"".join(line + b"\n" for line in self.lines))

    def edit(self, position: int, old: str, new: str) -> None:
        """Change the stored bytes in a line."""
        head, data, stored = self.lines[position - 1].partition(b'"data":')
        assert old.encode() in stored
        self.lines[position - 1] = head + data + stored.replace(old.encode(), new.encode(), 1)
        self.write()

    def write_otherwise(self, position: int, old: bytes, new: bytes) -> None:
        """Have a line say what it said in another way; and a manifest that fits."""
        said = self.line(position)
        self.lines[position - 1] = self.lines[position - 1].replace(old, new, 1)
        assert self.line(position) == said
        self.write()
        self.list_files()

    def set(self, position: int, /, **changes: Any) -> None:
        self.lines[position - 1] = msgspec.json.encode(msgspec.structs.replace(self.line(position), **changes))
        self.write()

    def renumber(self) -> None:
        for position in range(1, len(self.lines) + 1):
            if self.line(position).position != position:
                self.set(position, position=position)

    def replace(self, path: str, old: bytes, new: bytes) -> None:
        content = (self.directory / path).read_bytes()
        assert old in content
        (self.directory / path).write_bytes(content.replace(old, new, 1))

    def flip(self, path: str, at: int) -> None:
        """Change one bit."""
        content = bytearray((self.directory / path).read_bytes())
        content[at] ^= 1
        (self.directory / path).write_bytes(content)

    def list_files(self, **changes: Any) -> None:
        """Have the manifest say what is there now."""
        manifest = json.loads((self.directory / MANIFEST).read_bytes())
        paths = sorted(p.relative_to(self.directory).as_posix() for p in self.directory.rglob("*") if p.is_file())
        files = [(path, (self.directory / path).read_bytes()) for path in paths if path != MANIFEST]
        manifest["files"] = [
            {"path": path, "bytes": len(content), "sha256": sha256(content).hexdigest()} for path, content in files
        ]
        (self.directory / MANIFEST).write_text(json.dumps(manifest | changes))

    def reseal(self, key: SigningKey | None = None) -> None:
        """The whole tree of the lines as they are now, signed anew; and a manifest that fits."""
        encode, leaves = encoder("qingxiu"), []
        for line in map(self.line, range(1, len(self.lines) + 1)):
            leaves.append(encode(line.position, line.recorded_at_microseconds, line.type, line.tags, bytes(line.data)))
        shutil.rmtree(self.directory / "log" / "tile")
        frontier = Frontier()
        tiles = frontier.extend(leaf_hashes(leaves))
        for level, hashes in enumerate(frontier.partial):
            if hashes:
                tiles.append((Tile(level, len(leaves) >> 8 * (level + 1), len(hashes) // HASH_BYTES), hashes))
        for tile, hashes in tiles:
            self.put(tile_path(tile), hashes)
        for first in range(0, len(leaves), TILE_HASHES):
            some = leaves[first : first + TILE_HASHES]
            self.put(entries_path(first // TILE_HASHES, len(some)), bundle(some))
        checkpoint = Checkpoint("qingxiu", len(leaves), frontier.root())
        self.put(CHECKPOINT, (key or self.key).sign(checkpoint.text()).encode())
        self.list_files(size=len(leaves))

    def put(self, path: str, content: bytes) -> None:
        (self.directory / path).parent.mkdir(parents=True, exist_ok=True)
        (self.directory / path).write_bytes(content)


WITNESS: Final = CosigningKey("auditor.example", Ed25519PrivateKey.from_private_bytes(b"w" * 32))


def cosign(tampered: Bundle, *, seconds: int = 1_800_000_000, forged: bool = False) -> None:
    """A witness's line below the newest checkpoint."""
    note = (tampered.directory / CHECKPOINT).read_text()
    cosignature = WITNESS.cosign(note.rpartition("\n\n")[0] + "\n", seconds)
    line = cosignature._replace(seconds=seconds + forged).line()
    tampered.put(CHECKPOINT, f"{note}{line}".encode())
    tampered.list_files()


def drop(tampered: Bundle, position: int, *, renumber: bool) -> None:
    del tampered.lines[position - 1]
    if renumber:
        tampered.renumber()
    tampered.write()


def add(tampered: Bundle, source: int, target: int) -> None:
    tampered.lines.insert(target - 1, tampered.lines[source - 1])
    tampered.renumber()
    tampered.write()


def swap_facts(tampered: Bundle, one: int) -> None:
    """Two facts next to each other change places; lines are numbered as before."""
    lines = tampered.lines
    lines[one - 1], lines[one] = lines[one], lines[one - 1]
    tampered.renumber()
    tampered.write()


def anew(change: Callable[[Bundle], object]) -> Callable[[Bundle], None]:
    def tamper(tampered: Bundle) -> None:
        change(tampered)
        tampered.reseal()

    return tamper


def forget_older(tampered: Bundle) -> None:
    shutil.rmtree(tampered.directory / "checkpoints")


def signed_anew(change: Callable[[Bundle], object]) -> Callable[[Bundle], None]:
    """By who holds the key and has let nothing older be in the bundle."""

    def tamper(tampered: Bundle) -> None:
        change(tampered)
        forget_older(tampered)
        tampered.reseal()

    return tamper


def entries_of(position: Callable[[Any], int]) -> Callable[[Any], str]:
    def path(tampered: Any) -> str:
        number = (position(tampered) - 1) // TILE_HASHES
        return entries_path(number, min(TILE_HASHES, tampered.head - number * TILE_HASHES))

    return path


def both(tampered: Bundle) -> None:
    """A byte of the fact and of the entry bundle alike."""
    tampered.edit(funded(tampered), '"minutes":600', '"minutes":601')
    tampered.replace(entries_of(funded)(tampered), b'"minutes":600', b'"minutes":601')


def older_note(tampered: Bundle) -> str:
    (path,) = (tampered.directory / "checkpoints").iterdir()
    return f"checkpoints/{path.name}"


def other_key(tampered: Bundle) -> SigningKey:
    del tampered
    return SigningKey("qingxiu", Ed25519PrivateKey.from_private_bytes(b"o" * 32))


def with_other_key(tampered: Bundle) -> None:
    """Everything signed anew by a key of one's own, which the bundle then names."""
    key = other_key(tampered)
    tampered.put(LOG_KEYS, f"{key.verifier}\n".encode())
    tampered.put(SUCCESSIONS, b"")
    forget_older(tampered)
    tampered.reseal(key)


def first_of(path: str) -> Callable[[Any], str]:
    return lambda _: path


IN_THE_BUNDLE: Final = (
    Row("a byte of a fact", lambda b: b.edit(logged(b), "助餐", "助洁"), at(LINE_CHANGED, logged)),
    Row("minutes", lambda b: b.edit(confirmed(b), '"minutes":60', '"minutes":61'), at(LINE_CHANGED, confirmed)),
    Row("an actor", lambda b: b.edit(confirmed(b), '"S0102"', '"S0103"'), at(LINE_CHANGED, confirmed)),
    Row("a policy version", lambda b: b.edit(logged(b), '"policy":1', '"policy":2'), at(LINE_CHANGED, logged)),
    Row(
        "a time of decision",
        lambda b: b.edit(funded(b), '"decided_at":"2', '"decided_at":"1'),
        at(LINE_CHANGED, funded),
    ),
    Row("a type", lambda b: b.set(funded(b), type="minutes-capped.v1"), at(LINE_CHANGED, funded)),
    Row("an unknown type", lambda b: b.set(funded(b), type="pool-funded.v9"), at(UNREADABLE, funded), first=False),
    Row("a tag", lambda b: b.set(confirmed(b), tags=["record:T9"]), at(LINE_CHANGED, confirmed)),
    Row("a time of recording", lambda b: b.set(funded(b), recorded_at_microseconds=1), at(LINE_CHANGED, funded)),
    Row(
        "a space in a line",
        lambda b: b.write_otherwise(funded(b), b'"type":', b'"type": '),
        at(LINE_CHANGED, funded),
    ),
    Row(
        "a type before the type",
        lambda b: b.write_otherwise(funded(b), b'"type":', b'"type":"hours-logged.v1","type":'),
        at(LINE_CHANGED, funded),
    ),
    Row("a byte of a fact and of its entry", both, at(CHANGED, funded)),
    Row("a line that is no fact", lambda b: b.edit(funded(b), "}", ""), at(UNREADABLE, funded)),
    Row("a swapped pair", lambda b: swap_facts(b, logged(b)), at(SWAPPED, logged)),
    Row(
        "swapped lines",
        lambda b: (b.lines.insert(logged(b) - 1, b.lines.pop(logged(b))), b.write()),
        at(GAP, logged),
        first=False,
    ),
    Row("a removed fact", lambda b: drop(b, logged(b), renumber=False), at(REMOVED, logged)),
    Row("a removed fact, the others moved up", lambda b: drop(b, logged(b), renumber=True), at(REMOVED, logged)),
    Row(
        "a removed tail",
        lambda b: (b.lines.__delitem__(slice(-3, None)), b.write()),
        at(TAIL_REMOVED, lambda b: b.head - 2),
    ),
    Row("an inserted fact", lambda b: add(b, funded(b), logged(b)), at(INSERTED, logged)),
    Row("a fact at the end", lambda b: add(b, funded(b), b.head + 1), at(INSERTED, lambda b: b.head + 1)),
    Row(
        "an entry", lambda b: b.replace(entries_of(funded)(b), b'"minutes":600', b'"minutes":601'), at(ENTRIES, funded)
    ),
    Row(
        "an entry's length",
        lambda b: b.flip(entries_path(0, TILE_HASHES), 1),
        at(ENTRIES, first_of(entries_path(0, TILE_HASHES))),
    ),
    Row(
        "a missing entry bundle",
        lambda b: (b.directory / entries_path(0, TILE_HASHES)).unlink(),
        at(ENTRIES, first_of(entries_path(0, TILE_HASHES))),
    ),
    Row("a tile", lambda b: b.flip("log/tile/0/001", 40), at(TILE, first_of("log/tile/0/001"))),
    Row("a missing tile", lambda b: (b.directory / "log/tile/0/001").unlink(), at(TILE, first_of("log/tile/0/001"))),
    Row(
        "a tile of a higher level",
        lambda b: b.flip(f"log/tile/1/000.p/{b.head // 256}", 3),
        at(TILE, lambda b: f"log/tile/1/000.p/{b.head // 256}"),
        first=False,
    ),
    Row(
        "a checkpoint's root",
        lambda b: b.put(
            CHECKPOINT,
            re.sub(
                rb"\n[A-Za-z0-9+/]{43}=",
                b"\n" + base64.b64encode(bytes(32)),
                (b.directory / CHECKPOINT).read_bytes(),
                count=1,
            ),
        ),
        at(UNSIGNED, first_of(CHECKPOINT)),
    ),
    Row("a checkpoint's signature", lambda b: b.flip(CHECKPOINT, -20), at(UNSIGNED, first_of(CHECKPOINT))),
    Row(
        "a checkpoint of fewer facts",
        lambda b: b.put(CHECKPOINT, (b.directory / older_note(b)).read_bytes()),
        at(NO_CHECKPOINT, first_of(CHECKPOINT)),
    ),
    Row("a checkpoint that is none", lambda b: b.put(CHECKPOINT, b"x\n"), at(NO_CHECKPOINT, first_of(CHECKPOINT))),
    Row("an older checkpoint's signature", lambda b: b.flip(older_note(b), -20), at(UNSIGNED, older_note)),
    Row(
        "an older checkpoint forged with the key",
        lambda b: b.put(
            older_note(b), b.key.sign(Checkpoint("qingxiu", int(Path(older_note(b)).stem), bytes(32)).text()).encode()
        ),
        at(OTHER_ROOT, older_note),
    ),
    Row(
        "a forged cosignature", lambda b: cosign(b, forged=True), at(COSIGNATURE, first_of(CHECKPOINT)), witnessed=True
    ),
    Row("a cosignature that is missing", lambda _: None, at(COSIGNATURE, first_of(CHECKPOINT)), witnessed=True),
    Row(
        "the ledger's key",
        lambda b: b.put(LOG_KEYS, f"{other_key(b).verifier}\n".encode()),
        at(KEYS, first_of(LOG_KEYS)),
    ),
    Row("a succession of keys", lambda b: b.flip(SUCCESSIONS, -20), at(UNSIGNED, first_of(SUCCESSIONS)), first=False),
    Row("everything signed anew by another key", with_other_key, at(UNSIGNED, first_of(CHECKPOINT)), first=False),
    Row(
        "a balance",
        lambda b: b.put(
            BALANCES, re.sub(rb"(pool:[^,]+,,)", rb"\g<1>1", (b.directory / BALANCES).read_bytes(), count=1)
        ),
        at(BALANCE, first_of(BALANCES)),
    ),
    Row(
        "a balance left out", lambda b: b.put(BALANCES, b"account,household,minutes\n"), at(BALANCE, first_of(BALANCES))
    ),
    Row(
        "a figure",
        lambda b: b.put(
            FIGURES, re.sub(rb'("service_minutes": )', rb"\g<1>1", (b.directory / FIGURES).read_bytes(), count=1)
        ),
        at(FIGURE, first_of(FIGURES)),
    ),
    Row(
        "what a figure means",
        lambda b: b.replace(FIGURES, "未冲正".encode(), "已冲正".encode()),
        at(FIGURE, first_of(FIGURES)),
    ),
    Row(
        "a rule",
        lambda b: b.replace(policy_path(1), b'"record_minutes_min": 15', b'"record_minutes_min": 1'),
        at(POLICIES, first_of(policy_path(1))),
    ),
    Row("a journal for ledger", lambda b: b.replace(LEDGER, b"  600 MIN", b"  601 MIN"), at(PLAIN, first_of(LEDGER))),
    Row(
        "a journal for hledger", lambda b: b.replace(HLEDGER, b"  600 MIN", b"  601 MIN"), at(PLAIN, first_of(HLEDGER))
    ),
    Row(
        "a journal for beancount",
        lambda b: b.replace(BEANCOUNT, b"  600 MIN", b"  601 MIN"),
        at(PLAIN, first_of(BEANCOUNT)),
    ),
    Row(
        "a line at a journal's end",
        lambda b: b.put(LEDGER, (b.directory / LEDGER).read_bytes() + b"; more\n"),
        at(PLAIN, first_of(LEDGER)),
    ),
    Row("a missing journal", lambda b: (b.directory / HLEDGER).unlink(), at(PLAIN, first_of(HLEDGER))),
    Row(
        "a missing file",
        lambda b: (b.directory / policy_path(1)).unlink(),
        at(FILE_MISSING, first_of(policy_path(1))),
        first=False,
    ),
    Row("a file too many", lambda b: b.put("notes.txt", b"trust me"), at(FILE_UNLISTED, first_of("notes.txt"))),
    Row(
        "a file that the manifest has otherwise",
        lambda b: b.put(LOG_KEYS, (b.directory / LOG_KEYS).read_bytes() + b"\n"),
        at(FILE_CHANGED, first_of(LOG_KEYS)),
        first=False,
    ),
    Row("a manifest that is none", lambda b: b.put(MANIFEST, b"{}"), at(BUNDLE, first_of(MANIFEST))),
    Row("a manifest of fewer facts", lambda b: b.list_files(size=b.head - 1), at(NO_CHECKPOINT, first_of(CHECKPOINT))),
    Row(
        "a path out of the bundle",
        lambda b: b.replace(MANIFEST, b'"balances.csv"', b'"../x"'),
        at(BUNDLE, first_of("../x")),
    ),
    # Whoever holds the key, too:
    Row(
        "a tree rewritten, an older checkpoint kept",
        anew(lambda b: b.edit(b.where(VolunteerEnrolled), '"V', '"W')),
        at(OTHER_ROOT, older_note),
    ),
    Row(
        "hours that were confirmed by who logged them",
        signed_anew(
            lambda b: (
                b.edit(confirmed(b), '"actor":"S0102"', '"actor":"S0101"'),
                b.edit(confirmed(b), '"confirmed_by":"S0102"', '"confirmed_by":"S0101"'),
            )
        ),
        at(REFUSED, confirmed, "confirmed-by-logger"),
    ),
    Row(
        "minutes that nobody served",
        signed_anew(lambda b: b.edit(confirmed(b), '"minutes":60', '"minutes":6000')),
        at(OTHERWISE, confirmed),
        first=False,
    ),
    Row(
        "a re-used certificate number",
        signed_anew(lambda b: b.edit(certified(b), '-000002"', '-000001"')),
        at(OTHERWISE, certified),
        first=False,
    ),
    Row("a certificate for a reversed record", signed_anew(certify_reversed), at(COUNTED_OTHERWISE, certified)),
    Row("a seal's figures, signed anew", signed_anew(seal_more), at(SEALED_OTHERWISE, sealed)),
    Row("a draw's records, signed anew", signed_anew(draw_another), at(DRAWN_OTHERWISE, drawn)),
    Row(
        "a policy version, signed anew",
        signed_anew(lambda b: b.edit(logged(b), '"policy":1', '"policy":2')),
        at(OTHER_POLICY, logged),
    ),
    Row("tags, signed anew", signed_anew(lambda b: b.set(logged(b), tags=[])), at(OTHER_TAGS, logged)),
    Row(
        "a time of recording, signed anew",
        signed_anew(lambda b: b.set(funded(b), recorded_at_microseconds=1)),
        at(BACK_IN_TIME, funded),
        first=False,
    ),
    Row(
        "a command once more, signed anew",
        signed_anew(lambda b: add(b, funded(b), b.head + 1)),
        at(REPEATED, lambda b: b.head + 1),
        first=False,
    ),
)


@pytest.fixture(scope="module")
def exported(bank: Timebank, open_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Path:
    open_database.restore()
    directory = tmp_path_factory.mktemp("exported") / "bundle"
    export(bank, directory, None)
    return directory


@pytest.fixture
def tampered(exported: Path, bank: Timebank, tmp_path: Path) -> Bundle:
    shutil.copytree(exported, tmp_path / "bundle")
    key = read_key(bank.settings.data, bank.name)
    assert key is not None
    return Bundle(tmp_path / "bundle", key)


def audited(tampered: Bundle, row: Row | None = None, *, rules: bool = True) -> Findings:
    witnesses = [WITNESS.verifier] if row is not None and row.witnessed else []
    trusted: list[VerifierKey] = [tampered.key.verifier] if row is None or row.trusted else []
    findings, _ = verification.audited(tampered.directory, trusted, witnesses, rules=rules, processes=1)
    return findings


def test_a_bundle_that_nobody_touched_is_found_as_it_should_be(tampered: Bundle) -> None:
    assert (tampered.directory / "checkpoints").is_dir()
    for rules in (True, False):
        assert audited(tampered, rules=rules).found == []
    findings, content = verification.audited(tampered.directory)
    assert (findings.found, content["facts"], content["key"]) == ([], tampered.head, "own")
    assert (content["seals"], content["samples"]) == (1, 1)
    tampered.reseal()
    assert audited(tampered).found == []
    cosign(tampered)
    assert audited(tampered, Row("", print, lambda _: ("", "", ""), witnessed=True)).found == []


@pytest.mark.parametrize("row", IN_THE_BUNDLE, ids=lambda row: row.name)
def test_tampering_with_a_bundle_is_found_and_named(tampered: Bundle, row: Row) -> None:
    expected = row.expects(tampered)
    row.tamper(tampered)
    findings = audited(tampered, row)
    assert is_found(findings, expected), (expected, findings.found)
    if row.first:
        first = findings.found[0]
        assert expected[0] == first.kind, (expected, first)
        assert expected[2] in (first.position, first.place), (expected, first)
    assert all(one.told_zh and one.told_en for one in findings.found)


@pytest.mark.parametrize("rules", [True, False])
@pytest.mark.parametrize(
    ("change", "kind", "position"), [(seal_more, SEALED_OTHERWISE, sealed), (draw_another, DRAWN_OTHERWISE, drawn)]
)
def test_what_a_seal_counted_and_a_sample_drew_is_found_by_nothing_but_counting_and_drawing_again(
    tampered: Bundle, rules: bool, change: Callable[[Bundle], None], kind: str, position: Callable[[Bundle], int]
) -> None:
    signed_anew(change)(tampered)
    (found,) = audited(tampered, rules=rules).found
    assert (found.kind, found.position) == (kind, position(tampered))


def test_a_trusted_key_of_another_log_speaks_for_no_bundle(tampered: Bundle) -> None:
    stranger = SigningKey("xixiu", Ed25519PrivateKey.from_private_bytes(b"o" * 32))
    tampered.put(LOG_KEYS, f"{stranger.verifier}\n".encode())
    tampered.put(SUCCESSIONS, b"")
    forget_older(tampered)
    tampered.reseal(stranger)
    findings, _ = verification.audited(tampered.directory, [stranger.verifier], rules=False, processes=1)
    (found,) = findings.found
    assert (found.kind, found.place) == (UNSIGNED, CHECKPOINT)


def test_there_are_more_than_thirty_kinds_of_each() -> None:
    for table in (ON_THE_DATABASE, IN_THE_BUNDLE):
        names = [row.name for row in table]
        assert len(names) == len(set(names)) > 30


def test_what_is_found_first_is_told_with_its_place_and_how_often_each_kind_is(tampered: Bundle) -> None:
    tampered.edit(logged(tampered), "助餐", "助洁")
    told = verification.told(audited(tampered))
    first = told["first"]
    assert isinstance(first, Finding)
    assert first.told_zh.startswith(f"位置 {logged(tampered)} (hours-logged.v1): 行与存储的事实不同：data：写着")
    assert {one["kind"]: one["count"] for one in told["counts"]}[LINE_CHANGED] == 1
    assert not told["valid"]
