"""What waits for staff: queues, each a query on the read models, oldest first, with its counts.

A queue is a few lines: its rows, what they mean, and when they leave. To add one, add it to QUEUES.
"""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import dict_row

from domain.policy import PolicyAdopted
from projections.late_entries import LATE, late_parameters

DAY_MICROSECONDS: Final = 86_400_000_000
EXPIRING_DAYS: Final = 2
REQUEST_DAYS: Final = 3


class QueueCount(msgspec.Struct, frozen=True):
    """``oldest_waiting_days`` is None where nothing waits."""

    queue: str
    title: str
    count: int
    oldest_waiting_days: int | None
    definition: str


class Queue(NamedTuple):
    """One queue. ``rows`` is a SELECT that gives each row a ``position`` of its own (the order, and the cursor), its
    ``community`` (which bounds staff) and ``since_microseconds`` (Unix: how long it has waited); what else it gives is
    shown. It may use the parameters ``now_microseconds``, and those of `LATE`. It leaves the queue when it is selected
    no more.
    """

    name: str
    title: str
    zh: str
    en: str
    rows: str


_RECORD_COLUMNS: Final = (
    "logged_position AS position, community, logged_at_microseconds AS since_microseconds, record, volunteer,"
    " household, recipient_household, service, worked_on::text AS worked_on, service_minutes, logged_by, imported"
)

QUEUES: Final[tuple[Queue, ...]] = (
    Queue(
        "to-confirm",
        "待确认 To confirm",
        "已登记、还没有确认也没有驳回的服务记录；自登记之日起等待。",
        "Service records that are logged and neither confirmed nor rejected; they wait since they were logged.",
        f"SELECT {_RECORD_COLUMNS} FROM hours WHERE status = 'logged'",
    ),
    Queue(
        "late-entries",
        "补登 Late entries",
        "待确认的记录中，登记晚于当时规则的通常期限（late_after_days）的；从旧台账导入的不算，因为当时何时登记已不可知。"
        "处理之后仍可在 GET /v1/late-entries 查到。",
        "Of the records to confirm those that were logged later than the policy of their day ordinarily has it "
        "(`late_after_days`); not those imported from older books, since nobody knows when they were logged. Once "
        "settled they are still listed by GET /v1/late-entries.",
        f"SELECT {_RECORD_COLUMNS}, late_reason, days_late FROM {LATE} AS late WHERE status = 'logged'",
    ),
    Queue(
        "open-check-ins",
        "未签退 Open check-ins",
        "签到后超过规则时限仍未签退的服务；它不会自动计时，须由工作人员按实情办结或作废。",
        "Services that were checked in to and not out of within the policy's limit; they earn nothing by themselves, "
        "and staff close or void them.",
        "SELECT position, community, started_at_microseconds AS since_microseconds, visit, volunteer,"
        " recipient_household, service, started_at, evidence FROM visits WHERE status = 'overdue'",
    ),
    Queue(
        "disputes",
        "争议 Disputes",
        "尚未裁定的争议；escalated 表示已逾期，只能由管理员裁定。",
        "Disputes that are not decided yet; those that are `escalated` are past their deadline, and an "
        "administrator's.",
        "SELECT opened_position AS position, h.community, opened_at_microseconds AS since_microseconds, dispute,"
        " d.record, side, ground, held_minutes, earner_heard, recipient_heard, escalated, decision_due_microseconds"
        " FROM disputes d JOIN hours h ON h.record = d.record WHERE d.status = 'open'",
    ),
    Queue(
        "expiring-reservations",
        "即将到期的预留 Expiring reservations",
        f"{EXPIRING_DAYS} 天内到期、还没有领取的兑换预留，可提醒该户。",
        f"Reservations of rewards that end within {EXPIRING_DAYS} days and are not collected: remind the household.",
        "SELECT reserved_position AS position, coalesce(h.community, r.community) AS community,"
        " (extract(epoch FROM reserved_at::timestamptz) * 1000000)::bigint AS since_microseconds, reservation, reward,"
        " partner, household, minutes, r.status, ends_at FROM reservations r LEFT JOIN households h USING (household)"
        " WHERE r.status IN ('reserved', 'given-up')"
        f" AND ends_at_microseconds <= %(now_microseconds)s + {EXPIRING_DAYS * DAY_MICROSECONDS}",
    ),
    Queue(
        "requests-waiting",
        "久等的需求 Requests waiting too long",
        f"提出已满 {REQUEST_DAYS} 天、还没有约定志愿者的服务需求。",
        f"Service requests asked {REQUEST_DAYS} days ago or earlier for which no volunteer has been accepted.",
        "SELECT asked_position AS position, community, asked_at_microseconds AS since_microseconds, request, household,"
        " grid, service, earliest_at, latest_at, estimated_minutes, needs FROM requests WHERE status = 'open'"
        f" AND asked_at_microseconds <= %(now_microseconds)s - {REQUEST_DAYS * DAY_MICROSECONDS}",
    ),
    Queue(
        "objections",
        "异议 Objections",
        "对月度公示提出、尚未处理的异议；过了 decision_due 只能由管理员处理。",
        "Objections to disclosed months that are not decided yet; those past `decision_due` are an administrator's.",
        "SELECT raised_position AS position, community, raised_at_microseconds AS since_microseconds, period,"
        " objection, person, ground, record, decision_due_microseconds FROM objections WHERE status = 'open'",
    ),
    Queue(
        "findings",
        "查验问题 Findings",
        "审核人员提出、还没有答复的问题；不涉及某条记录的由全区答复。",
        "Findings of an auditor that are not answered yet; those about no record are the district's to answer.",
        "SELECT found_position AS position, community, found_at_microseconds AS since_microseconds, finding, severity,"
        " matter, sample, record FROM findings WHERE status = 'open'",
    ),
)


def named(name: str) -> Queue | None:
    """The queue of that name, or None."""
    return next((queue for queue in QUEUES if queue.name == name), None)


def counts(
    cursor: Cursor[Any], policies: Sequence[PolicyAdopted], *, community: str | None, now: datetime, zone: tzinfo
) -> list[QueueCount]:
    """Every queue with how many wait in it, of one community or of all, and how many whole days the oldest has."""
    found = []
    for queue in QUEUES:
        cursor.execute(
            "SELECT count(*), (%(now_microseconds)s - min(since_microseconds)) / %(day)s"
            f" FROM ({queue.rows}) AS queue WHERE %(community)s::text IS NULL OR community = %(community)s",
            _parameters(policies, community, now, zone),
        )
        ((count, oldest),) = cursor.fetchall()
        found.append(QueueCount(queue.name, queue.title, count, oldest, f"{queue.zh} / {queue.en}"))
    return found


async def waiting(
    connection: AsyncConnection[Any],
    queue: Queue,
    policies: Sequence[PolicyAdopted],
    *,
    community: str | None,
    now: datetime,
    zone: tzinfo,
    after: int,
    limit: int,
) -> list[dict[str, Any]]:
    """What waits in a queue, oldest first, after a position, with the whole days that each has waited."""
    cursor = connection.cursor(row_factory=dict_row)
    await cursor.execute(
        "SELECT *, (%(now_microseconds)s - since_microseconds) / %(day)s AS waiting_days"
        f" FROM ({queue.rows}) AS queue WHERE position > %(after)s"
        " AND (%(community)s::text IS NULL OR community = %(community)s) ORDER BY position LIMIT %(limit)s",
        {**_parameters(policies, community, now, zone), "after": after, "limit": limit},
    )
    return await cursor.fetchall()


def _parameters(
    policies: Sequence[PolicyAdopted], community: str | None, now: datetime, zone: tzinfo
) -> dict[str, object]:
    microseconds = int(now.timestamp()) * 1_000_000
    own = {"community": community, "now_microseconds": microseconds, "day": DAY_MICROSECONDS}
    return own | late_parameters(policies, zone)
