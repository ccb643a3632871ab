"""Groups: who leads and belongs to them, and that their hours are donated and never spent."""

from typing import Any

import pytest
from pydantic import ValidationError

from domain.account import BalanceTooHigh, BalanceTooLow, HoursConfirmed, MinutesDonated
from domain.community import OutsideCommunity, UnknownCommunity
from domain.decision import Actor
from domain.group import (
    AlreadyInGroup,
    AlreadyLeading,
    AppointGroupLeader,
    DonateGroupMinutes,
    Group,
    GroupAlreadyRegistered,
    GroupLeaderAppointed,
    GroupMemberJoined,
    GroupMemberLeft,
    JoinGroup,
    LeaderStays,
    LeaveGroup,
    NotInGroup,
    NotLeadingGroup,
    RegisterGroup,
    UnknownGroup,
    appoint_group_leader,
    donate_group_minutes,
    join_group,
    leave_group,
    register_group,
)
from domain.household import MemberRegistered, UnknownHousehold, UnknownMember
from domain.transfer import MovedToOwnHousehold
from tests.controls import (
    DISTRICT,
    GROUP_MEMBER_JOINED,
    GROUP_REGISTERED,
    JINHU,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    credited,
    district,
    given,
    volunteer,
)

GROUP = (*DISTRICT, GROUP_REGISTERED, GROUP_MEMBER_JOINED, HoursConfirmed("issuance", "group:G1", 60, "R1", "S2"))
V1, V2, V3 = volunteer("V1"), volunteer("V2"), volunteer("V3")


def test_staff_register_a_group_with_its_leader_as_its_first_member() -> None:
    command = RegisterGroup(group="G1", community=XINZHU, leader="V1")
    facts = given(DISTRICT).when(register_group, command).then(GROUP_REGISTERED).facts
    assert given(facts).state(Group.of("G1")) == Group("G1", XINZHU, "V1", frozenset({"V1"}))


def test_a_group_is_registered_once_in_a_community_that_is_the_staffs_with_a_leader_who_is_a_member() -> None:
    def register(**changes: Any) -> RegisterGroup:
        return RegisterGroup.model_validate({"group": "G1", "community": XINZHU, "leader": "V1"} | changes)

    given(GROUP).when(register_group, register()).refused(GroupAlreadyRegistered("G1"))
    given(DISTRICT).when(register_group, register(leader="V9")).refused(UnknownMember("V9"))
    given(DISTRICT).when(register_group, register(community=JINHU)).refused(OutsideCommunity(JINHU, XINZHU))
    anywhere = Actor("S3", "staff")
    nowhere = register(community="没有社区")
    given(DISTRICT).when(register_group, nowhere, actor=anywhere).refused(UnknownCommunity("没有社区"))


@pytest.mark.parametrize("actor", [V1, STAFF])
def test_the_leader_and_staff_take_people_in_and_off(actor: Actor) -> None:
    given(GROUP).when(join_group, JoinGroup(group="G1", member="V3"), actor=actor).then(GroupMemberJoined("G1", "V3"))
    left = GroupMemberLeft("G1", "V2")
    given(GROUP).when(leave_group, LeaveGroup(group="G1", member="V2"), actor=actor).then(left)
    assert given(GROUP, left).state(Group.of("G1")).members == {"V1"}


def test_a_member_leaves_by_themselves_and_takes_nobody_else_off() -> None:
    leave = LeaveGroup(group="G1", member="V2")
    given(GROUP).when(leave_group, leave, actor=V2).then(GroupMemberLeft("G1", "V2"))
    joined = (*GROUP, GroupMemberJoined("G1", "V3"))
    given(joined).when(leave_group, leave, actor=V3).refused(NotLeadingGroup("G1"))


def test_people_join_once_and_only_members_leave() -> None:
    given(GROUP).when(join_group, JoinGroup(group="G1", member="V2")).refused(AlreadyInGroup("G1", "V2"))
    given(GROUP).when(join_group, JoinGroup(group="G1", member="V9")).refused(UnknownMember("V9"))
    given(GROUP).when(leave_group, LeaveGroup(group="G1", member="V3")).refused(NotInGroup("G1", "V3"))


def test_a_group_always_has_a_leader_of_its_own() -> None:
    given(GROUP).when(leave_group, LeaveGroup(group="G1", member="V1"), actor=V1).refused(LeaderStays("G1", "V1"))
    appoint = AppointGroupLeader(group="G1", leader="V2")
    appointed = GroupLeaderAppointed("G1", "V2")
    given(GROUP).when(appoint_group_leader, appoint, actor=V1).then(appointed)
    given(GROUP, appointed).when(appoint_group_leader, appoint).refused(AlreadyLeading("G1", "V2"))
    stranger = AppointGroupLeader(group="G1", leader="V3")
    given(GROUP).when(appoint_group_leader, stranger).refused(NotInGroup("G1", "V3"))
    given(GROUP, appointed).when(leave_group, LeaveGroup(group="G1", member="V1"), actor=V1).then(
        GroupMemberLeft("G1", "V1")
    )


COMMANDS = [
    (join_group, JoinGroup(group="G1", member="V4")),
    (leave_group, LeaveGroup(group="G1", member="V1")),
    (appoint_group_leader, AppointGroupLeader(group="G1", leader="V2")),
    (donate_group_minutes, DonateGroupMinutes(group="G1", minutes=1)),
]


@pytest.mark.parametrize(("decide", "command"), COMMANDS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_group_is_not_there_for_those_who_have_nothing_to_do_with_it(decide: Any, command: Any) -> None:
    for actor in (V3, STAFF_ELSEWHERE):
        given(GROUP).when(decide, command, actor=actor).refused(UnknownGroup("G1"))
    given(DISTRICT).when(decide, command).refused(UnknownGroup("G1"))
    given(GROUP).when(decide, command, actor=V2).refused(NotLeadingGroup("G1"))


# ── Donating ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("actor", [V1, STAFF])
def test_the_leader_and_staff_donate_to_any_pool(actor: Actor) -> None:
    for community, pool in ((None, XINZHU), (JINHU, JINHU)):
        command = DonateGroupMinutes(group="G1", minutes=60, community=community)
        donated = MinutesDonated("group:G1", "pool:" + pool, 60, actor.id)
        given(GROUP).when(donate_group_minutes, command, actor=actor).then(donated)


def to(household: str, minutes: int = 60) -> DonateGroupMinutes:
    return DonateGroupMinutes(group="G1", minutes=minutes, household=household, need="illness")


def test_a_group_gives_to_a_household_in_need_up_to_its_cap() -> None:
    donated = MinutesDonated("group:G1", "household:H2", 60, "V1", "illness")
    given(GROUP).when(donate_group_minutes, to("H2"), actor=V1).then(donated, policy=1)
    capped = (*district(balance_minutes_max=100), *GROUP[len(DISTRICT) :], credited("H2", 41))
    given(capped).when(donate_group_minutes, to("H2"), actor=V1).refused(BalanceTooHigh("household:H2", 41, 60, 100))
    assert given(capped).when(donate_group_minutes, to("H2", 59), actor=V1).accepted


def test_nobody_gives_what_is_the_groups_to_their_own_household() -> None:
    given(GROUP).when(donate_group_minutes, to("H1"), actor=V1).refused(MovedToOwnHousehold("H1"))
    kin = MemberRegistered("S2", "H2")
    given(GROUP, kin).when(donate_group_minutes, to("H2")).refused(MovedToOwnHousehold("H2"))


def test_a_group_gives_what_it_has_to_those_who_are_there() -> None:
    low = BalanceTooLow("group:G1", 60, 61, 0)
    given(GROUP).when(donate_group_minutes, to("H2", 61)).refused(low)
    given(GROUP).when(donate_group_minutes, DonateGroupMinutes(group="G1", minutes=61)).refused(low)
    given(GROUP).when(donate_group_minutes, to("H8")).refused(UnknownHousehold("H8"))
    nowhere = DonateGroupMinutes(group="G1", minutes=1, community="没有社区")
    given(GROUP).when(donate_group_minutes, nowhere).refused(UnknownCommunity("没有社区"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"household": "H2"},
        {"need": "illness"},
        {"household": "H2", "need": "illness", "community": XINZHU},
    ],
)
def test_a_household_is_given_to_for_a_need_and_a_pool_without_one(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        DonateGroupMinutes.model_validate({"group": "G1", "minutes": 1} | wrong)
