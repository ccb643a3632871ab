"""Places that change: from which day on, what becomes of pools and households, and what they are rolled up into."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from domain.account import (
    Account,
    BalanceCarried,
    BalanceTooLow,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesHeld,
)
from domain.community import (
    Community,
    CommunityAlreadyRegistered,
    CommunityDissolved,
    CommunityMerged,
    CommunityRegistered,
    DissolvedCommunity,
    GridMoved,
    GridRegistered,
    Move,
    RegisterGrid,
    UnknownCommunity,
    UnknownGrid,
    became,
    evolve,
    register_grid,
)
from domain.community_life import (
    CompleteMerger,
    EffectiveTooEarly,
    FollowPlace,
    MergeCommunities,
    MovedIntoItself,
    MoveGrid,
    PlaceAlreadyMoved,
    RenameCommunity,
    SplitCommunity,
    complete_merger,
    follow_place,
    merge_communities,
    move_grid,
    rename_community,
    split_community,
)
from domain.fact import Fact
from domain.figures import Figure, Tally
from domain.hours import ConfirmHours, ReverseHours, confirm, log, reverse
from domain.household import ClosedHousehold, HouseholdClosed, HouseholdMoved, RegisterHousehold, register_household
from domain.household_life import MinutesStillHeld, SamePlace
from domain.refusal import Refusal
from tests.controls import (
    ADMIN,
    COMMAND_EXAMPLES,
    COMMUNITY_MERGED,
    COMMUNITY_RENAMED,
    DISTRICT,
    GRID,
    GRID_MOVED,
    HOURS_LOGGED,
    JINHU,
    POOL_FUNDED,
    XINZHU,
    at,
    district,
    given,
    logged,
)

DAY = date(2026, 12, 1)
ON_THE_DAY = at("12-01 00:30")
FIRST = ("第1网格",)
JINHU_GRID = GridRegistered(JINHU, FIRST)
DISSOLVED = (COMMUNITY_MERGED, CommunityDissolved(XINZHU, JINHU))
MERGE = MergeCommunities(community=XINZHU, into=JINHU, effective_on=DAY)
MOVE = MoveGrid(community=XINZHU, grid=GRID, into_community=JINHU, into_grid=FIRST, effective_on=DAY)
SPLIT = SplitCommunity(community=XINZHU, into="新竹东社区", grids=GRID, minutes=60, effective_on=DAY)


def test_a_community_is_renamed_and_keeps_its_id() -> None:
    command = RenameCommunity(community=XINZHU, name="新竹一社区", effective_on=DAY)
    given(DISTRICT).when(rename_community, command, actor=ADMIN).then(COMMUNITY_RENAMED)
    assert given(DISTRICT, COMMUNITY_RENAMED).state(Community.of(XINZHU)).name == "新竹一社区"


# ── Mergers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_merger_is_recorded_for_a_day_and_changes_nothing_before_it() -> None:
    given(DISTRICT).when(merge_communities, MERGE, actor=ADMIN).then(COMMUNITY_MERGED)
    planned = (*DISTRICT, COMMUNITY_MERGED, POOL_FUNDED)
    assert given(planned).when(register_household, RegisterHousehold(household="H9", community=XINZHU)).accepted
    complete = CompleteMerger(community=XINZHU)
    given(planned).when(complete_merger, complete).refused(EffectiveTooEarly("2026-11-22", "2026-12-01"))
    given(planned).when(follow_place, FollowPlace(household="H1")).refused(SamePlace("H1", XINZHU))


def test_on_its_day_the_pool_and_the_households_follow() -> None:
    planned = (*DISTRICT, COMMUNITY_MERGED, POOL_FUNDED)
    dissolved = CommunityDissolved(XINZHU, JINHU)
    carried = BalanceCarried("pool:" + XINZHU, "pool:" + JINHU, 600, "community-merged")
    complete = CompleteMerger(community=XINZHU)
    given(planned).when(complete_merger, complete, now=ON_THE_DAY).then(dissolved, carried)
    given(planned).when(follow_place, FollowPlace(household="H1"), now=ON_THE_DAY).then(
        HouseholdMoved("H1", JINHU, (), DAY)
    )
    given(planned, GridRegistered(JINHU, GRID)).when(follow_place, FollowPlace(household="H2"), now=ON_THE_DAY).then(
        HouseholdMoved("H2", JINHU, GRID, DAY)
    )
    # Where its grid isn't registered there, it belongs to the community at large.
    given(planned).when(follow_place, FollowPlace(household="H2"), now=ON_THE_DAY).then(
        HouseholdMoved("H2", JINHU, (), DAY)
    )


@pytest.mark.parametrize(
    ("minutes", "carried"),
    [
        (0, ()),
        (30, (BalanceCarried("pool:" + XINZHU, "pool:" + JINHU, 30, "community-merged"),)),
        (-30, (BalanceCarried("pool:" + JINHU, "pool:" + XINZHU, 30, "community-merged"),)),
    ],
)
def test_what_comes_to_a_merged_pool_later_follows_too(minutes: int, carried: tuple[Fact, ...]) -> None:
    late = MinutesCapped("household:H1", "pool:" + XINZHU, minutes, "R1")
    complete = CompleteMerger(community=XINZHU)
    given(DISTRICT, DISSOLVED, late).when(complete_merger, complete, now=ON_THE_DAY).then(*carried)


def test_a_merged_communitys_records_are_paid_and_undone_by_the_pool_it_went_to() -> None:
    funded = BalanceCarried("issuance", "pool:" + JINHU, 600, "community-merged")
    facts = (*district(payer="pool"), HOURS_LOGGED, *DISSOLVED, funded)
    confirmed = HoursConfirmed("pool:" + JINHU, "household:H1", 90, "R1", "A1")
    given(facts).when(confirm, ConfirmHours(record="R1"), actor=ADMIN).then(confirmed)
    earlier = HoursConfirmed("pool:" + XINZHU, "household:H1", 90, "R1", "S2")
    past = (*DISTRICT, HOURS_LOGGED, earlier, *DISSOLVED)
    undone = HoursReversed("household:H1", "pool:" + JINHU, 90, "R1", "A1", "other")
    given(past).when(reverse, ReverseHours(record="R1", reason="other"), actor=ADMIN).then(undone)
    closed = HouseholdClosed("H1", "other", "pool:" + XINZHU, ())
    (both,) = given(past, closed).when(reverse, ReverseHours(record="R1", reason="other"), actor=ADMIN).accepted
    assert (both.source, both.target) == ("pool:" + JINHU, "pool:" + JINHU)  # type: ignore[attr-defined]
    assert len(both.tags()) == len(set(both.tags()))


def test_nothing_is_registered_in_a_dissolved_community() -> None:
    facts, refused = (*DISTRICT, *DISSOLVED), DissolvedCommunity(XINZHU, JINHU)
    for decide, command in (
        (register_household, RegisterHousehold(household="H9", community=XINZHU)),
        (register_grid, RegisterGrid(community=XINZHU, grid=("第8网格",))),
        (rename_community, RenameCommunity(community=XINZHU, name="甲", effective_on=DAY)),
        (merge_communities, MERGE),
        (merge_communities, MergeCommunities(community=JINHU, into=XINZHU, effective_on=DAY)),
        (move_grid, MOVE),
        (split_community, SPLIT),
    ):
        given(facts, JINHU_GRID).when(decide, command, actor=ADMIN).refused(refused)


def test_a_merged_pool_waits_for_what_it_holds() -> None:
    held = MinutesHeld("pool:" + XINZHU, 30, "request:Q1")
    given(DISTRICT, COMMUNITY_MERGED, POOL_FUNDED, held).when(
        complete_merger, CompleteMerger(community=XINZHU), now=ON_THE_DAY
    ).refused(MinutesStillHeld("pool:" + XINZHU, 30))


# ── Grids and splits ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_grid_becomes_another_ones_from_a_day_on_and_its_households_follow_on_it() -> None:
    given(DISTRICT, JINHU_GRID).when(move_grid, MOVE, actor=ADMIN).then(GRID_MOVED)
    facts = (*DISTRICT, JINHU_GRID, GRID_MOVED)
    given(facts).when(follow_place, FollowPlace(household="H2"), now=ON_THE_DAY).then(
        HouseholdMoved("H2", JINHU, FIRST, DAY)
    )
    given(facts).when(follow_place, FollowPlace(household="H1"), now=ON_THE_DAY).refused(SamePlace("H1", XINZHU))
    closed = HouseholdClosed("H2", "other", "expired", ())
    given(facts, closed).when(follow_place, FollowPlace(household="H2")).refused(ClosedHousehold("H2"))


def test_a_community_is_split_with_a_share_of_its_pool_and_all_that_is_below_its_grids() -> None:
    below = (*GRID, "甲")
    facts = given(DISTRICT, GridRegistered(XINZHU, below), POOL_FUNDED).when(split_community, SPLIT, actor=ADMIN)
    facts.then(
        CommunityRegistered("新竹东社区", "新竹东社区"),
        GridRegistered("新竹东社区", GRID),
        GridRegistered("新竹东社区", below),
        GridMoved(XINZHU, GRID, "新竹东社区", GRID, DAY),
        BalanceCarried("pool:" + XINZHU, "pool:新竹东社区", 60, "community-split"),
    )
    after = given(DISTRICT, POOL_FUNDED, facts.accepted)
    assert after.state(Account.of("pool:" + XINZHU)).balance_minutes == 540
    after.when(follow_place, FollowPlace(household="H2"), now=ON_THE_DAY).then(
        HouseholdMoved("H2", "新竹东社区", GRID, DAY)
    )
    without = SPLIT.model_copy(update={"minutes": 0})
    assert not any(isinstance(f, BalanceCarried) for f in given(DISTRICT).when(split_community, without).accepted)


@pytest.mark.parametrize(
    ("decide", "command", "refusal"),
    [
        (rename_community, RenameCommunity(community="别处", name="甲", effective_on=DAY), UnknownCommunity("别处")),
        (merge_communities, MERGE.model_copy(update={"into": "别处"}), UnknownCommunity("别处")),
        (merge_communities, MERGE.model_copy(update={"into": XINZHU}), MovedIntoItself(XINZHU)),
        (move_grid, MOVE.model_copy(update={"grid": ("第9网格",)}), UnknownGrid(XINZHU, "第9网格")),
        (move_grid, MOVE.model_copy(update={"into_grid": ("第9网格",)}), UnknownGrid(JINHU, "第9网格")),
        (
            move_grid,
            MOVE.model_copy(update={"into_community": XINZHU, "into_grid": GRID}),
            MovedIntoItself(f"{XINZHU}/第3网格"),
        ),
        (split_community, SPLIT.model_copy(update={"into": JINHU}), CommunityAlreadyRegistered(JINHU)),
        (split_community, SPLIT.model_copy(update={"grids": ("第9网格",)}), UnknownGrid(XINZHU, "第9网格")),
        (split_community, SPLIT, BalanceTooLow("pool:" + XINZHU, 0, 60, 0)),
        (complete_merger, CompleteMerger(community="别处"), UnknownCommunity("别处")),
        *(
            (decide, command.model_copy(update={"effective_on": date(2026, 11, 21)}), EffectiveTooEarly(*days))
            for days in (("2026-11-21", "2026-11-22"),)
            for decide, command in (
                (rename_community, RenameCommunity(community=XINZHU, name="甲", effective_on=DAY)),
                (merge_communities, MERGE),
                (move_grid, MOVE),
                (split_community, SPLIT),
            )
        ),
    ],
)
def test_what_can_not_become_is_refused(decide: Any, command: Any, refusal: Refusal) -> None:
    given(DISTRICT, JINHU_GRID).when(decide, command, actor=ADMIN).refused(refusal)


def test_a_place_moves_once_and_never_to_one_that_moves_on() -> None:
    moved = (*DISTRICT, JINHU_GRID, GRID_MOVED)
    back = MoveGrid(community=JINHU, grid=FIRST, into_community=XINZHU, into_grid=GRID, effective_on=DAY)
    refused = PlaceAlreadyMoved(f"{XINZHU}/第3网格")
    for decide, command in ((move_grid, MOVE), (move_grid, back), (split_community, SPLIT)):
        given(moved).when(decide, command, actor=ADMIN).refused(refused)
    merged = (*DISTRICT, COMMUNITY_MERGED)
    for command in (MERGE, MergeCommunities(community=JINHU, into=XINZHU, effective_on=DAY)):
        given(merged).when(merge_communities, command, actor=ADMIN).refused(PlaceAlreadyMoved(XINZHU))


# ── Roll-up ──────────────────────────────────────────────────────────────────────────────────────────────────────


def places(*moves: Move) -> Any:
    found: dict[str, Community] = {}
    for move in moves:
        found[move.community] = evolve(found.get(move.community) or Community(move.community), move)
    return lambda name: found.get(name) or Community(name)


def test_a_place_is_followed_by_its_closest_grid_and_from_each_days_on() -> None:
    known = places(
        GridMoved("A", ("1",), "B", ("9",), date(2027, 1, 1)),
        GridMoved("A", ("1", "x"), "C", ("5",), date(2027, 2, 1)),
        CommunityMerged("B", "D", date(2026, 6, 1)),
        CommunityMerged("A", "E", date(2028, 1, 1)),
    )
    assert became(known, "A", ("1", "y"), date(2026, 12, 31)) == ("A", ("1", "y"))
    assert became(known, "A", ("1", "y"), date(2027, 1, 1)) == ("D", ("9", "y"))
    assert became(known, "A", ("1", "x", "z"), date(2027, 1, 31)) == ("D", ("9", "x", "z"))
    assert became(known, "A", ("1", "x", "z"), date(2027, 2, 1)) == ("C", ("5", "z"))
    assert became(known, "A", ("2",), date(2027, 12, 31)) == ("A", ("2",))
    assert became(known, "A", ("2",), date(2028, 1, 1)) == ("E", ("2",))


def test_a_place_that_comes_back_where_it_was_stays_there() -> None:
    known = places(GridMoved("A", ("1",), "B", ("1",), DAY), CommunityMerged("B", "A", DAY))
    assert became(known, "A", ("1",), DAY) == ("A", ("1",))


@drawn(
    st.lists(
        st.tuples(*(st.sampled_from("ABC"), st.sampled_from("12")) * 2, st.integers(0, 3)),
        max_size=8,
    ),
    st.integers(0, 3),
)
def test_following_always_ends(drawn_moves: list[Any], day: int) -> None:
    start = date(2027, 1, 1)
    moves = [GridMoved(a, (b,), c, (d,), start.replace(day=1 + on)) for a, b, c, d, on in drawn_moves]
    community, grid = became(places(*moves), "A", ("1", "x"), start.replace(day=1 + day))
    assert community in "ABC"
    assert grid[-1] == "x"


def test_figures_count_where_service_was_or_where_that_belongs_by_a_day() -> None:
    tally = Tally()
    other = logged("R2", "11-20 09:00 - 10:00", community=JINHU, grid=FIRST, recipient_household="H2")
    for fact in (HOURS_LOGGED, other, GRID_MOVED):
        tally.fold(fact)
    for record in ("R1", "R2"):
        tally.fold(HoursConfirmed("issuance", "household:H1", 1, record, "S2"))
    then = {XINZHU: Figure(1, 90, 1), JINHU: Figure(1, 60, 1)}
    assert tally.cells("community") == tally.cells("community", places_on=date(2026, 11, 30)) == then
    assert tally.cells("community", places_on=DAY) == {JINHU: Figure(1, 150, 2)}
    assert tally.cells("grid", places_on=DAY) == {f"{JINHU}/第1网格": Figure(1, 150, 2)}
    assert tally.cells("service", places_on=DAY) == tally.cells("service")


def test_a_record_of_a_moved_grid_keeps_the_place_it_had() -> None:
    (record,) = given(DISTRICT, JINHU_GRID, GRID_MOVED).when(log, COMMAND_EXAMPLES[log]).accepted
    assert (record.community, record.grid) == (XINZHU, GRID)  # type: ignore[attr-defined]
