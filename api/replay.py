"""The ledger counted again from its facts and compared with its projections; and, for an audit, held to its own log and
rules as well."""

import contextlib
from datetime import date, datetime
from itertools import groupby
from typing import Any, Final

import psycopg
import typer
from rich.console import Console

from api.bundle import counted
from api.disclosure import secret_of
from api.terminal import answer, fail, progress
from api.verification import checked_checkpoint, linked, show_findings, show_recounted, told
from api.wiring import Timebank, one_moment
from application.disclosure import SealRecount
from application.finding import (
    INSERTED,
    LOG_HEAD,
    NO_CHECKPOINT,
    NOT_CONSERVED,
    PROJECTION,
    TAGS_INDEX,
    UNREADABLE,
    Finding,
    Findings,
)
from application.inspection import Redraw
from application.log import Relog
from application.redecision import Redecision
from application.replay import Counted, Difference, GapInJournal, Replay, differences, replay
from application.verification import recounted
from domain.fact import Tagged
from domain.figures import Basis, last_instant
from domain.ledger import SYNTHETIC_NOTICE
from domain.statement import VerifierKey
from infrastructure.codec import UnknownFactType, UnreadableFact
from infrastructure.fact_store import recorded_of
from infrastructure.journal import StoredFact
from infrastructure.log import SealedLog
from infrastructure.projector import ProjectionsDamaged, Projector
from infrastructure.signing import read_key, successions
from projections.account import balances, balances_at

BASES: Final[tuple[Basis, ...]] = ("recorded", "service")


def position_asked(bank: Timebank, to: int | None, as_of: str | None) -> int | None:
    """Up to where is replayed; None: to the head. Raises: typer.BadParameter, StoreUnavailable."""
    if to is not None and as_of is not None:
        raise typer.BadParameter("--to 与 --as-of 只能选一个。 Give --to or --as-of, not both.")
    return to if as_of is None else bank.store.position_at(_instant(as_of, bank))


def _instant(text: str, bank: Timebank) -> datetime:
    with contextlib.suppress(ValueError):
        # A day alone is meant whole, as everywhere else.
        return last_instant(date.fromisoformat(text), bank.zone)
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        fail(f"时间应写作 2026-10-31T18:00:00，不是“{text}”。 / A time is written 2026-10-31T18:00:00, not “{text}”.")
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=bank.zone)


def replayed_and_compared(bank: Timebank, to: int | None) -> tuple[int, Replay, list[Difference]]:
    """The position that was replayed to, what it came to, and all in which the projections are otherwise.

    Raises: GapInJournal, ProjectionsDamaged, and what the store raises for facts that can't be read.
    """
    with contextlib.closing(bank.projector()) as projector:
        projector.prepare()
        checkpoint = projector.catch_up()
        if to is None or to >= min(checkpoint, bank.store.head()):
            checkpoint, rows, projected = _projected_at_head(projector, checkpoint)
            to = None
        else:
            rows, projected = [], [_projected(bank, to)]
    head = bank.store.head()
    position = min(checkpoint, head) if to is None else to
    with progress("重放 Replaying", position) as done:
        counted_again = replay(bank.store, position, done)
    replayed = counted_again.counted()
    found = [] if checkpoint <= head else [Difference("checkpoint", head, checkpoint)]
    if counted_again.position != position:
        found.append(Difference("position", counted_again.position, position))
    for one in projected:
        found += [each for each in differences(replayed, one) if each not in found]
    return position, counted_again, found + rows


def _projected(bank: Timebank, position: int) -> Counted:
    """What the projections say of a past position, in one snapshot."""
    with bank.reading() as connection, one_moment(connection) as (cursor, _):
        return counted(cursor, balances_at(cursor, position), "recorded", position)


def _projected_at_head(projector: Projector, total: int) -> tuple[int, list[Difference], list[Counted]]:
    """The checkpoint, each row that isn't what the facts fold to, and what the projections say, on both bases."""
    with progress("逐行核对 Comparing every row", total) as done, projector.compared(done) as compared:
        cursor, checkpoint = compared.cursor, compared.checkpoint
        held = balances(cursor)
        projected = [counted(cursor, held, basis, checkpoint) for basis in BASES]
        return checkpoint, [Difference(*each) for each in compared.differences], projected


# ── For an audit ─────────────────────────────────────────────────────────────────────────────────────────────────


def audited(bank: Timebank, to: int | None = None) -> tuple[Findings, dict[str, Any]]:
    """All that is found in a ledger up to a position (None: its head), and what was looked at."""
    findings = Findings()
    content: dict[str, Any] = {"ledger": bank.name, "synthetic": bank.opened.synthetic}
    content |= _log_and_rules(bank, to, findings)
    content |= _projections(bank, to, findings)
    return findings, content


def audit_replay(bank: Timebank, to: int | None, *, as_json: bool) -> None:
    """Replay, with the log and the rules, and tell; the exit status is 1 where anything was found."""
    findings, content = audited(bank, to)
    content |= told(findings)

    def show(console: Console) -> None:
        console.print(f"{bank.name}: 重放到位置 replayed to position {content['position']:,}")
        if bank.opened.synthetic:
            console.print(SYNTHETIC_NOTICE)
        console.print(
            f"  重算散列 re-hashed {content['facts_sealed']:,} 条 facts, 尚未封存 not sealed yet "
            f"{content['facts_unsealed']:,}; {content['checkpoints']:,} 个检查点 checkpoints"
        )
        show_recounted(console, content)
        console.print(f"  {content['commands']:,} 个命令按当时的规则重新决定 commands decided again")
        if content["key"] is None:
            console.print("  数据目录里没有密钥，未核对签名。 There is no key here: signatures were not checked.")
        show_findings(console, findings)

    answer(content, as_json, show)
    if findings.total:
        raise typer.Exit(1)


def _log_and_rules(bank: Timebank, to: int | None, findings: Findings) -> dict[str, Any]:
    """One pass over the stored facts: each is hashed and held to the sealed tree, decoded, and decided again; seals are
    counted and samples drawn again."""
    with psycopg.connect(bank.owner_address) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        sealed = SealedLog(connection, bank.name)
        # What is sealed was recorded before: the log first, and then the facts, which keep coming.
        head = bank.store.head()
        position = head if to is None else min(to, head)
        known = _known_keys(bank)
        roots = _roots(bank.name, sealed, known, findings)
        if not sealed.head_is_of_its_size() or sealed.stray_tiles():
            zh, en = f"{sealed.size} 条", f"{sealed.size} facts"
            findings.add(Finding(LOG_HEAD, zh, en, "log_heads"))
        size = sealed.size if to is None else min(sealed.size, position)
        relog = Relog(bank.name, size, {at: places for at, places in roots.items() if at <= size}, sealed.tile)
        redecision = Redecision(bank.store.at)
        seals, redraw = SealRecount(bank.name, lambda month: secret_of(bank, month)), Redraw(bank.name, bank.store.at)
        unreadable = Findings()
        with progress("重算散列、重新决定 Hashing and deciding again", position) as done:
            for batch in bank.store.scan_stored(0, position):
                relog.fold(row for row in batch if row.position <= size)
                read = [(row.position, _recorded(row, unreadable)) for row in batch]
                for unread, some in groupby(read, lambda one: one[1] is None):
                    if unread:
                        redecision.pass_over([position for position, _ in some])
                        continue
                    facts = [recorded for _, recorded in some if recorded is not None]
                    redecision.fold(facts)
                    for recorded in facts:
                        seals.fold(recorded.position, recorded.envelope.fact)
                        redraw.fold(recorded.position, recorded.envelope.fact)
                done(batch[-1].position)
        relog.close()
        redecision.close(may_go_on=position < head)
        redecision.findings.sort()
        for each in (relog.findings, unreadable, redecision.findings):
            findings.extend(each)
        for finding in recounted(seals, redraw):
            findings.add(finding)
        if to is None:
            _check_index(connection, bank.name, findings)
    return {
        "position": position,
        "facts_sealed": size,
        "facts_unsealed": max(0, position - size),
        "checkpoints": len(sealed.checkpoints),
        "commands": redecision.commands,
        "facts_undecided": redecision.undecided,
        "seals": seals.seals,
        "samples": redraw.samples,
        "key": str(known[0]) if known else None,
    }


def _recorded(row: StoredFact, unreadable: Findings) -> Tagged[Any] | None:
    """A stored fact decoded; what can't be is found."""
    try:
        return recorded_of(row)
    except (UnknownFactType, UnreadableFact) as error:
        unreadable.add(Finding(UNREADABLE, str(error), str(error), position=row.position, type=row.type))
        return None


def _known_keys(bank: Timebank) -> list[VerifierKey]:
    key = read_key(bank.settings.data, bank.name)
    return [] if key is None else linked([key.verifier], successions(bank.settings.data, bank.name))


def _roots(
    ledger: str, sealed: SealedLog, known: list[VerifierKey], findings: Findings
) -> dict[int, list[tuple[str, bytes]]]:
    roots: dict[int, list[tuple[str, bytes]]] = {}
    for size, note in sealed.checkpoints:
        place = f"log_checkpoints {size}"
        checkpoint = checked_checkpoint(place, note, ledger, known, findings)
        if checkpoint is None:
            continue
        if checkpoint.size != size:
            zh, en = f"{checkpoint.size} 条", f"it is of {checkpoint.size} facts"
            findings.add(Finding(NO_CHECKPOINT, zh, en, place))
        elif size > sealed.size:
            zh, en = (
                f"签过 {size} 条，封存的只有 {sealed.size} 条",
                f"{size} facts were signed, {sealed.size} are sealed",
            )
            findings.add(Finding(LOG_HEAD, zh, en, place))
        else:
            roots.setdefault(size, []).append((place, checkpoint.root))
    return roots


_WANTED_KEYS: Final = (
    "SELECT hashtextextended(tag, hashtextextended(ledger, position >> 30)) << 30 | (position & 1073741823) AS key"
    " FROM facts JOIN tag_heads USING (ledger) CROSS JOIN LATERAL unnest(tags) AS tag WHERE position <= tag_heads.head"
)


def _check_index(connection: psycopg.Connection[Any], ledger: str, findings: Findings) -> None:
    """Facts beyond the head, and the index by which decisions find facts: whoever hides one from it has the rules
    decide without it."""
    ((head, reach, beyond),) = connection.execute(
        "SELECT ledgers.head, coalesce(tag_heads.head, 0),"
        " (SELECT count(*) FROM facts WHERE facts.ledger = ledgers.ledger AND position > ledgers.head)"
        " FROM ledgers LEFT JOIN tag_heads USING (ledger) WHERE ledger = %s",
        (ledger,),
    ).fetchall()
    if beyond:
        zh, en = f"位置 {head} 之后有 {beyond} 条", f"{beyond} facts are stored after position {head}"
        findings.add(Finding(INSERTED, zh, en, position=head + 1))
    if reach > head:
        zh, en = f"标签索引说到位置 {reach}", f"the index of tags is said to reach position {reach}"
        findings.add(Finding(TAGS_INDEX, zh, en, "tag_heads", head + 1))
    for one, other, zh, en in (
        (_WANTED_KEYS, "SELECT tag_key FROM fact_tags", "缺少", "is missing"),
        ("SELECT tag_key FROM fact_tags", _WANTED_KEYS, "多余", "is too much"),
    ):
        keys = f"SELECT key & 1073741823 FROM (({one}) EXCEPT ALL ({other})) AS found (key) ORDER BY 1"
        for (position,) in connection.execute(keys.encode()):
            findings.add(Finding(TAGS_INDEX, f"一个标签的索引{zh}", f"an entry for a tag {en}", "fact_tags", position))


def _projections(bank: Timebank, to: int | None, findings: Findings) -> dict[str, Any]:
    try:
        _, counted_again, found = replayed_and_compared(bank, to)
    except (GapInJournal, ProjectionsDamaged, UnknownFactType, UnreadableFact) as error:
        findings.add(Finding(PROJECTION, str(error), str(error)))
        return {}
    for difference in found:
        zh = f"应为 {difference.replayed}，写着 {difference.projected}"
        en = f"{difference.projected} instead of {difference.replayed}"
        findings.add(Finding(PROJECTION, zh, en, difference.what))
    total = counted_again.total_minutes
    if total:
        findings.add(Finding(NOT_CONSERVED, f"合计 {total} 分钟", f"they come to {total} minutes"))
    return {"movements": counted_again.movements, "figures": counted_again.counted().figures}
