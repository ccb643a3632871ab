"""Groups of volunteers and who is in them now. What their accounts hold is in `projections.account`."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection, Cursor
from psycopg.rows import class_row

from domain.fact import Recorded
from domain.group import GroupLeaderAppointed, GroupMemberJoined, GroupMemberLeft, GroupRegistered
from projections.projection import CopyValue, KeptRows, Write


class GroupRow(msgspec.Struct):
    """One group; ``members`` are counted, its leader too."""

    group_id: str
    community: str
    leader: str
    members: int
    registered_position: int


class GroupListed(msgspec.Struct):
    """One group with what its account holds."""

    group: str
    community: str
    leader: str
    members: int
    balance_minutes: int


SELECT: Final = (
    "SELECT g.group_id AS group, g.community, g.leader, g.members, coalesce(a.balance_minutes, 0) AS balance_minutes"
    " FROM groups g LEFT JOIN accounts a ON a.account = 'group:' || g.group_id"
)


class Groups(KeptRows[GroupRow]):
    name = "groups"
    version = 1
    table = "groups"
    row_type = GroupRow
    tables = """
        CREATE TABLE groups (
            group_id text COLLATE "C" PRIMARY KEY,
            community text COLLATE "C" NOT NULL,
            leader text NOT NULL,
            members integer NOT NULL,
            registered_position bigint NOT NULL
        );
        CREATE TABLE group_members (
            group_id text COLLATE "C" NOT NULL,
            member text COLLATE "C" NOT NULL,
            PRIMARY KEY (group_id, member)
        );
    """
    indexes = "CREATE INDEX group_members_by_member ON group_members (member);"
    fact_types = (GroupRegistered, GroupMemberJoined, GroupMemberLeft, GroupLeaderAppointed)

    def __init__(self) -> None:
        super().__init__()
        self._memberships: dict[tuple[str, str], bool] = {}

    def load(self, cursor: Cursor[Any]) -> None:
        super().load(cursor)
        self._memberships.clear()

    def fold(self, recorded: Recorded[Any]) -> None:
        fact = recorded.envelope.fact
        match fact:
            case GroupRegistered():
                row = GroupRow(fact.group, fact.community, fact.leader, 1, recorded.position)
                self.put(fact.group, row)
                self._memberships[fact.group, fact.leader] = True
            case GroupMemberJoined():
                self.change(fact.group).members += 1
                self._memberships[fact.group, fact.member] = True
            case GroupMemberLeft():
                self.change(fact.group).members -= 1
                self._memberships[fact.group, fact.member] = False
            case GroupLeaderAppointed():
                self.change(fact.group).leader = fact.leader

    def take(self, *, more: bool = False) -> Write:
        write_rows = super().take(more=more)
        memberships, self._memberships = self._memberships, {}

        def write(cursor: Cursor[Any]) -> None:
            write_rows(cursor)
            if not memberships:
                return
            # Whoever joined and left within a batch was perhaps a member before.
            changed: list[Sequence[CopyValue]] = list(memberships)
            cursor.executemany("DELETE FROM group_members WHERE group_id = %s AND member = %s", changed)
            joined = [pair for pair, is_member in memberships.items() if is_member]
            cursor.executemany("INSERT INTO group_members VALUES (%s, %s)", joined)

        return write


async def group(connection: AsyncConnection[Any], number: str) -> GroupListed | None:
    """One group, or None."""
    cursor = connection.cursor(row_factory=class_row(GroupListed))
    await cursor.execute(f"{SELECT} WHERE g.group_id = %s", (number,))
    return await cursor.fetchone()


async def groups(
    connection: AsyncConnection[Any], *, community: str | None, after: str, limit: int
) -> list[GroupListed]:
    """Groups in the order of their numbers, after a given one, of one community or of all."""
    cursor = connection.cursor(row_factory=class_row(GroupListed))
    await cursor.execute(
        f"{SELECT} WHERE g.group_id > %s AND (%s::text IS NULL OR g.community = %s) ORDER BY g.group_id LIMIT %s",
        (after, community, community, limit),
    )
    return await cursor.fetchall()


async def group_members(connection: AsyncConnection[Any], number: str) -> list[str]:
    """Who is in a group, by number."""
    cursor = await connection.execute("SELECT member FROM group_members WHERE group_id = %s ORDER BY member", (number,))
    return [member for (member,) in await cursor.fetchall()]
