"""Places that change: from which day on, what becomes of pools and households, and what they are rolled up into."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from msgspec.structs import replace
from pydantic import ValidationError

from domain.account import (
    Account,
    BalanceCarried,
    BalanceTooLow,
    CappedMinutesReturned,
    GrantMinutes,
    HoursConfirmed,
    HoursReversed,
    MinutesCapped,
    MinutesHeld,
    MinutesReleased,
    PoolFunded,
    grant_minutes,
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
    GridRenamed,
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
    CompleteSplit,
    EffectiveTooEarly,
    FollowPlace,
    GridName,
    GridNameTaken,
    MergeCommunities,
    MovedIntoItself,
    MoveGrid,
    PlaceAlreadyMoved,
    RenameCommunity,
    RenameGrids,
    SplitAlreadyDone,
    SplitCommunity,
    UnknownSplit,
    complete_merger,
    complete_split,
    follow_place,
    merge_communities,
    move_grid,
    rename_community,
    rename_grids,
    split_community,
)
from domain.decision import LeftToTime
from domain.fact import Fact
from domain.figures import Figure, Tally
from domain.hours import ConfirmHours, ReverseHours, confirm, log, reverse
from domain.household import ClosedHousehold, HouseholdClosed, HouseholdMoved, RegisterHousehold, register_household
from domain.household_life import SamePlace
from domain.refusal import Refusal
from tests.controls import (
    ADMIN,
    COMMAND_EXAMPLES,
    COMMUNITY_MERGED,
    COMMUNITY_PARTED,
    COMMUNITY_RENAMED,
    COMMUNITY_SPLIT,
    DISTRICT,
    GRID,
    GRID_MOVED,
    GRID_RENAMED,
    HOURS_LOGGED,
    JINHU,
    POOL_FUNDED,
    TIME,
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
ON_DAY_TWO = date(2026, 12, 2)
RENAME = RenameGrids(community=XINZHU, names=(GridName(grid=GRID, name="甲"),), effective_on=DAY)
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
        (rename_grids, RENAME),
    ):
        given(facts, JINHU_GRID).when(decide, command, actor=ADMIN).refused(refused)


def test_what_a_merged_pool_holds_is_held_in_the_one_that_it_went_to() -> None:
    held = MinutesHeld("pool:" + XINZHU, 30, "dispute:D1")
    past = (*DISTRICT, COMMUNITY_MERGED, POOL_FUNDED, held)
    facts = given(past).when(complete_merger, CompleteMerger(community=XINZHU), now=ON_THE_DAY).accepted
    assert facts[2:] == (
        MinutesReleased("pool:" + XINZHU, 30, "dispute:D1"),
        MinutesHeld("pool:" + JINHU, 30, "dispute:D1"),
    )
    assert given(past, facts).state(Account.of("pool:" + JINHU)) == Account("pool:" + JINHU, 600, 30)


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
        COMMUNITY_SPLIT,
        MinutesHeld("pool:" + XINZHU, 60, "split:新竹东社区"),
    )
    after = given(DISTRICT, POOL_FUNDED, facts.accepted)
    assert after.state(Account.of("pool:" + XINZHU)) == Account("pool:" + XINZHU, 600, 60)
    after.when(follow_place, FollowPlace(household="H2"), now=ON_THE_DAY).then(
        HouseholdMoved("H2", "新竹东社区", GRID, DAY)
    )
    without = SPLIT.model_copy(update={"minutes": 0})
    assert not any(isinstance(f, MinutesHeld) for f in given(DISTRICT).when(split_community, without).accepted)


EAST = "新竹东社区"
SHARED = BalanceCarried("pool:" + XINZHU, "pool:" + EAST, 60, "community-split")
SHARE_HELD = MinutesHeld("pool:" + XINZHU, 60, "split:" + EAST)
SPLIT_PLANNED = (
    *(*DISTRICT, POOL_FUNDED, CommunityRegistered(EAST, EAST)),
    *(COMMUNITY_SPLIT, SHARE_HELD),
)
COMPLETE_SPLIT = CompleteSplit(community=XINZHU, into=EAST)
RELEASED = MinutesReleased("pool:" + XINZHU, 60, "split:" + EAST)


def test_the_new_pool_has_its_share_from_the_day_of_the_split_on() -> None:
    planned = given(SPLIT_PLANNED)
    planned.when(complete_split, COMPLETE_SPLIT, actor=TIME).refused(EffectiveTooEarly("2026-11-22", "2026-12-01"))
    planned.when(complete_split, COMPLETE_SPLIT, now=ON_THE_DAY).refused(LeftToTime("S2"))
    facts = planned.when(complete_split, COMPLETE_SPLIT, actor=TIME, now=ON_THE_DAY).accepted
    assert facts == (COMMUNITY_PARTED, RELEASED, SHARED)
    after = given(SPLIT_PLANNED, facts)
    assert after.state(Account.of("pool:" + XINZHU)) == Account("pool:" + XINZHU, 540)
    assert after.state(Account.of("pool:" + EAST)) == Account("pool:" + EAST, 60)
    after.when(complete_split, COMPLETE_SPLIT, actor=TIME, now=ON_THE_DAY).refused(SplitAlreadyDone(XINZHU, EAST))


def test_what_a_new_pool_is_to_have_is_not_granted_to_others_meanwhile() -> None:
    grant = GrantMinutes(household="H2", minutes=541, need="other")
    given(SPLIT_PLANNED).when(grant_minutes, grant).refused(BalanceTooLow("pool:" + XINZHU, 540, 541, 0))


def test_a_split_of_today_shares_the_pool_at_once() -> None:
    today = SPLIT.model_copy(update={"effective_on": date(2026, 11, 22)})
    facts = given(DISTRICT, POOL_FUNDED).when(split_community, today, actor=ADMIN).accepted
    assert facts[-2:] == (COMMUNITY_PARTED, SHARED)


def test_a_new_pool_gets_no_more_than_the_old_one_still_has() -> None:
    taken = CappedMinutesReturned("pool:" + XINZHU, "household:H1", 570, "R1")
    facts = given(SPLIT_PLANNED, taken).when(complete_split, COMPLETE_SPLIT, actor=TIME, now=ON_THE_DAY).accepted
    assert facts == (COMMUNITY_PARTED, RELEASED, replace(SHARED, minutes=30))
    all_taken = replace(taken, minutes=610)
    facts = given(SPLIT_PLANNED, all_taken).when(complete_split, COMPLETE_SPLIT, actor=TIME, now=ON_THE_DAY).accepted
    assert facts == (COMMUNITY_PARTED, RELEASED)


def test_a_share_comes_from_the_pool_that_the_old_one_went_to_meanwhile() -> None:
    merging = (*SPLIT_PLANNED, COMMUNITY_MERGED)
    merged = given(merging).when(complete_merger, CompleteMerger(community=XINZHU), now=ON_THE_DAY).accepted
    facts = given(merging, merged).when(complete_split, COMPLETE_SPLIT, actor=TIME, now=ON_THE_DAY).accepted
    assert facts[1:] == (
        MinutesReleased("pool:" + JINHU, 60, "split:" + EAST),
        BalanceCarried("pool:" + JINHU, "pool:" + EAST, 60, "community-split"),
    )


def test_no_split_is_carried_out_that_nobody_recorded() -> None:
    unknown = CompleteSplit(community=XINZHU, into=JINHU)
    given(DISTRICT).when(complete_split, unknown, actor=TIME).refused(UnknownSplit(XINZHU, JINHU))
    nowhere = CompleteSplit(community="别处", into=JINHU)
    given(DISTRICT).when(complete_split, nowhere, actor=TIME).refused(UnknownCommunity("别处"))


@drawn(
    st.integers(0, 600),
    st.lists(st.tuples(st.sampled_from(["fund", "take", "merge", "split"]), st.integers(1, 400)), max_size=8),
)
def test_whatever_happens_before_its_day_a_split_moves_minutes_and_makes_none(
    share: int, steps: list[tuple[str, int]]
) -> None:
    command = SPLIT.model_copy(update={"minutes": share})
    facts: list[Fact] = [*DISTRICT, POOL_FUNDED, COMMUNITY_MERGED]
    facts += given(facts).when(split_community, command, actor=ADMIN).accepted
    for step, minutes in [*steps, ("merge", 0), ("split", 0)]:
        match step:
            case "fund":
                facts.append(replace(POOL_FUNDED, minutes=minutes))
            case "take":
                facts.append(CappedMinutesReturned("pool:" + XINZHU, "household:H1", minutes, "R1"))
            case "merge":
                facts += given(facts).when(complete_merger, CompleteMerger(community=XINZHU), now=ON_THE_DAY).accepted
            case _:
                done = given(facts).when(complete_split, COMPLETE_SPLIT, actor=TIME, now=ON_THE_DAY)
                facts += () if done.decided is None else done.decided.facts
    pools = [given(facts).state(Account.of("pool:" + name)) for name in (XINZHU, JINHU, EAST)]
    came = sum(fact.minutes for fact in facts if isinstance(fact, PoolFunded))
    went = sum(fact.minutes for fact in facts if isinstance(fact, CappedMinutesReturned))
    assert sum(pool.balance_minutes for pool in pools) == came - went
    assert [pool.held_minutes for pool in pools] == [0, 0, 0]
    assert 0 <= pools[2].balance_minutes <= share


# ── Names of grids ───────────────────────────────────────────────────────────────────────────────────────────────

TWO_GRIDS = (*DISTRICT, GridRegistered(XINZHU, ("第5网格",)))


def renaming(**names: str) -> RenameGrids:
    named = tuple(GridName(grid=(grid,), name=name) for grid, name in names.items())
    return RenameGrids(community=XINZHU, names=named, effective_on=DAY)


def test_two_grids_swap_their_names_in_one_change_and_keep_their_paths() -> None:
    swap = renaming(第3网格="第5网格", 第5网格="第3网格")
    facts = (
        given(TWO_GRIDS)
        .when(rename_grids, swap, actor=ADMIN)
        .then(GRID_RENAMED, GridRenamed(XINZHU, ("第5网格",), "第3网格", DAY))
        .facts
    )
    state = given(TWO_GRIDS, facts).state(Community.of(XINZHU))
    before = date(2026, 11, 30)
    assert [state.grid_name_on(grid, before) for grid in (GRID, ("第5网格",))] == ["第3网格", "第5网格"]
    assert [state.grid_name_on(grid, DAY) for grid in (GRID, ("第5网格",))] == ["第5网格", "第3网格"]
    given(TWO_GRIDS, facts).when(follow_place, FollowPlace(household="H2"), now=ON_THE_DAY).refused(
        SamePlace("H2", f"{XINZHU}/第3网格")
    )


def test_grids_never_move_in_a_circle_and_two_territories_change_hands_by_way_of_new_grids() -> None:
    here, there = GRID, ("第5网格",)
    first = GridMoved(XINZHU, here, XINZHU, there, DAY)
    back = MoveGrid(community=XINZHU, grid=there, into_community=XINZHU, into_grid=here, effective_on=DAY)
    refused = PlaceAlreadyMoved(f"{XINZHU}/第3网格")
    given(TWO_GRIDS, first).when(move_grid, back, actor=ADMIN).refused(refused)
    new = {here: ("新第5网格",), there: ("新第3网格",)}
    facts: list[Fact] = [*TWO_GRIDS, *(GridRegistered(XINZHU, grid) for grid in new.values())]
    for grid, into in new.items():
        command = back.model_copy(update={"grid": grid, "into_grid": into})
        facts += given(facts).when(move_grid, command, actor=ADMIN).accepted
    known = given(facts).state(Community.of(XINZHU))
    for grid, into in new.items():
        assert became(lambda _: known, XINZHU, grid, DAY) == (XINZHU, into)


def test_a_grid_is_not_called_as_one_beside_it_is_by_then() -> None:
    refused = GridNameTaken(f"{XINZHU}/第5网格", "第5网格")
    given(TWO_GRIDS).when(rename_grids, renaming(第3网格="第5网格"), actor=ADMIN).refused(refused)
    both = renaming(第3网格="甲", 第5网格="甲")
    assert isinstance(given(TWO_GRIDS).when(rename_grids, both, actor=ADMIN).refusal, GridNameTaken)
    gone = GridMoved(XINZHU, ("第5网格",), XINZHU, GRID, DAY)
    assert given(TWO_GRIDS, gone).when(rename_grids, renaming(第3网格="第5网格"), actor=ADMIN).accepted


def test_a_grid_is_called_by_the_name_of_the_last_day_and_of_two_for_one_day_by_the_later() -> None:
    names = (GRID_RENAMED, replace(GRID_RENAMED, name="甲"), replace(GRID_RENAMED, name="乙", effective_on=ON_DAY_TWO))
    state = given(TWO_GRIDS, names).state(Community.of(XINZHU))
    assert [state.grid_name_on(GRID, day) for day in (DAY, ON_DAY_TWO)] == ["甲", "乙"]


def test_a_grid_is_named_once_in_one_change() -> None:
    twice = tuple(GridName(grid=GRID, name=name) for name in ("甲", "乙"))
    with pytest.raises(ValidationError, match="a grid is named twice"):
        RenameGrids(community=XINZHU, names=twice, effective_on=DAY)


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
        (rename_grids, RENAME.model_copy(update={"community": "别处"}), UnknownCommunity("别处")),
        (
            rename_grids,
            RENAME.model_copy(update={"names": (GridName(grid=("第9网格",), name="甲"),)}),
            UnknownGrid(XINZHU, "第9网格"),
        ),
        *(
            (decide, command.model_copy(update={"effective_on": date(2026, 11, 21)}), EffectiveTooEarly(*days))
            for days in (("2026-11-21", "2026-11-22"),)
            for decide, command in (
                (rename_community, RenameCommunity(community=XINZHU, name="甲", effective_on=DAY)),
                (merge_communities, MERGE),
                (move_grid, MOVE),
                (split_community, SPLIT),
                (rename_grids, RENAME),
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
