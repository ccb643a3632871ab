"""Places that change: communities are renamed, split and merged, grids renamed, merged and moved, each from a day on.

Nothing that was recorded is touched. On its day a merged community's pool goes to the other one, a new one gets its
share of the pool that it was split from, and households follow, by commands that the system gives when they are due;
figures roll places up into what they have become by a day. What a grid is called is not what it is: two grids can swap
their names (see docs/decisions), but never their paths.
"""

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain.account import (
    Account,
    BalanceCarried,
    MinutesHeld,
    carry_holds,
    pool_account,
    release_hold,
    require_cover,
    standing_accounts,
)
from domain.community import (
    Community,
    CommunityAlreadyRegistered,
    CommunityDissolved,
    CommunityMerged,
    CommunityParted,
    CommunityRegistered,
    CommunityRenamed,
    CommunitySplit,
    GridMoved,
    GridRegistered,
    GridRenamed,
    UnknownCommunity,
    registered_place_on,
)
from domain.decision import Context, Decided, Decision, read, require_time
from domain.fact import Fact
from domain.household import Household, HouseholdMoved
from domain.household_life import SamePlace
from domain.identifiers import HouseholdId, PlaceName
from domain.refusal import AgainstRule, AlreadyDone, Unknown
from domain.request import follow_requests

Grid = Annotated[tuple[PlaceName, ...], Field(min_length=1, max_length=3)]


class RenameCommunity(BaseModel):
    """Give a community another name from a day on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    name: PlaceName
    effective_on: date


class MergeCommunities(BaseModel):
    """Make a community a part of another one from a day on, with its pool, its grids and its households."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    into: PlaceName
    effective_on: date


class MoveGrid(BaseModel):
    """Let a grid and all below it become another registered grid from a day on: to rename it, to merge it, or to give
    it to another community."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    grid: Grid
    into_community: PlaceName
    into_grid: Grid
    effective_on: date


class GridName(BaseModel):
    """One grid and what it is called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grid: Grid
    name: PlaceName


class RenameGrids(BaseModel):
    """Give grids of a community other names, all from one day on, so that two of them can swap theirs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    names: Annotated[tuple[GridName, ...], Field(min_length=1, max_length=200)]
    effective_on: date

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len({named.grid for named in self.names}) < len(self.names):
            raise ValueError("网格不能重复 / a grid is named twice")
        return self


class SplitCommunity(BaseModel):
    """Make some base grids a new community from a day on. Its share of the pool is held until then, and its own on the
    day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    into: PlaceName
    name: PlaceName | None = None
    grids: Annotated[tuple[PlaceName, ...], Field(min_length=1, max_length=200)]
    minutes: Annotated[int, Field(strict=True, ge=0, le=60_000_000, description="The new pool's share, in minutes.")]
    effective_on: date


class CompleteMerger(BaseModel):
    """Carry out what a merger of communities means for the pool: due on its day, and whenever minutes came since."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName


class CompleteSplit(BaseModel):
    """Carry the new community's share of the pool over on the day of a split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    into: PlaceName


class FollowPlace(BaseModel):
    """Let a household follow the place that it is registered at, which has become another one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    household: HouseholdId


def rename_community(command: RenameCommunity, context: Context) -> Decision:
    """Raises: UnknownCommunity, DissolvedCommunity, EffectiveTooEarly."""
    _require_not_past(command.effective_on, context)
    community = yield from read(Community.of(command.community))
    community.require()
    return Decided(0, (CommunityRenamed(command.community, command.name, command.effective_on),))


def merge_communities(command: MergeCommunities, context: Context) -> Decision:
    """Raises: UnknownCommunity, DissolvedCommunity, PlaceAlreadyMoved (either of them), MovedIntoItself,
    EffectiveTooEarly."""
    _require_not_past(command.effective_on, context)
    if command.community == command.into:
        raise MovedIntoItself(command.community)
    community, into = yield from read(Community.of(command.community), Community.of(command.into))
    for each in (community, into):
        each.require()
        if each.merged is not None:
            raise PlaceAlreadyMoved(each.community)
    return Decided(0, (CommunityMerged(command.community, command.into, command.effective_on),))


def move_grid(command: MoveGrid, context: Context) -> Decision:
    """Raises: UnknownCommunity, UnknownGrid, DissolvedCommunity, PlaceAlreadyMoved (either of them), MovedIntoItself,
    EffectiveTooEarly."""
    _require_not_past(command.effective_on, context)
    community, into = yield from read(Community.of(command.community), Community.of(command.into_community))
    _require_unmoved(community, command.grid)
    into.require(command.into_grid)
    if command.community == command.into_community and command.into_grid[: len(command.grid)] == command.grid:
        raise MovedIntoItself("/".join((command.community, *command.grid)))
    if into.move_of(command.into_grid) is not None:
        raise PlaceAlreadyMoved("/".join((command.into_community, *command.into_grid)))
    moved = GridMoved(command.community, command.grid, command.into_community, command.into_grid, command.effective_on)
    return Decided(0, (moved,))


def _require_unmoved(community: Community, grid: tuple[str, ...]) -> None:
    """A grid may move out of one that moves otherwise, and moves once itself. Raises: as `Community.require`, and
    PlaceAlreadyMoved."""
    community.require(grid)
    if any(move.grid == grid for move in community.moves):
        raise PlaceAlreadyMoved("/".join((community.community, *grid)))


def split_community(command: SplitCommunity, context: Context) -> Decision:
    """Raises: UnknownCommunity, UnknownGrid, DissolvedCommunity, PlaceAlreadyMoved, CommunityAlreadyRegistered,
    BalanceTooLow (what isn't held of the pool must cover the share), EffectiveTooEarly."""
    _require_not_past(command.effective_on, context)
    community, new = yield from read(Community.of(command.community), Community.of(command.into))
    if new.name is not None:
        raise CommunityAlreadyRegistered(command.into)
    facts: list[Fact] = [CommunityRegistered(command.into, command.name or command.into)]
    for name in command.grids:
        _require_unmoved(community, (name,))
        facts += [GridRegistered(command.into, grid) for grid in sorted(community.grids) if grid[0] == name]
        facts.append(GridMoved(command.community, (name,), command.into, (name,), command.effective_on))
    facts.append(CommunitySplit(command.community, command.into, command.minutes, command.effective_on))
    at_once = command.effective_on == _today(context)
    if at_once:
        facts.append(CommunityParted(command.community, command.into))
    if command.minutes:
        pool = yield from read(Account.of(pool_account(command.community)))
        require_cover(pool, command.minutes, 0)
        target = pool_account(command.into)
        if at_once:
            facts.append(BalanceCarried(pool.account, target, command.minutes, "community-split"))
        else:
            facts.append(MinutesHeld(pool.account, command.minutes, _share(command.into)))
    return Decided(0, tuple(facts))


def _share(into: str) -> str:
    """The hold of a new community's share of the pool that it is split from."""
    return "split:" + into


def complete_split(command: CompleteSplit, context: Context) -> Decision:
    """By the system alone. What the pool has lost since, as by a reversal, the new one doesn't get; where either pool
    went to another one meanwhile, that one stands in its place.

    Raises: LeftToTime, UnknownCommunity, UnknownSplit, EffectiveTooEarly (its day hasn't come), SplitAlreadyDone.
    """
    require_time(context)
    community = yield from read(Community.of(command.community))
    if community.name is None:
        raise UnknownCommunity(command.community)
    split = next((split for split in community.splits if split.into == command.into), None)
    if split is None:
        raise UnknownSplit(command.community, command.into)
    if split.effective_on > _today(context):
        raise EffectiveTooEarly(_today(context).isoformat(), split.effective_on.isoformat())
    if command.into in community.parted:
        raise SplitAlreadyDone(command.community, command.into)
    names = (pool_account(command.community), pool_account(command.into))
    source, target = yield from standing_accounts(names)
    facts: list[Fact] = [CommunityParted(command.community, command.into)]
    facts += yield from release_hold(source, split.minutes, _share(command.into))
    pool = yield from read(Account.of(source))
    minutes = min(split.minutes, pool.balance_minutes)
    if minutes > 0 and source != target:
        facts.append(BalanceCarried(source, target, minutes, "community-split"))
    return Decided(0, tuple(facts))


def rename_grids(command: RenameGrids, context: Context) -> Decision:
    """Raises: UnknownCommunity, UnknownGrid, DissolvedCommunity, GridNameTaken (by a grid beside it, on that day),
    EffectiveTooEarly."""
    _require_not_past(command.effective_on, context)
    community, day = (yield from read(Community.of(command.community))), command.effective_on
    names = {named.grid: named.name for named in command.names}
    for grid in names:
        community.require(grid)
    for grid, name in names.items():
        for other in community.grids:
            if other == grid or other[:-1] != grid[:-1] or community.move_of(other, day) is not None:
                continue
            if names.get(other, community.grid_name_on(other, day)) == name:
                raise GridNameTaken("/".join((command.community, *other)), name)
    return Decided(0, tuple(GridRenamed(command.community, grid, name, day) for grid, name in names.items()))


def complete_merger(command: CompleteMerger, context: Context) -> Decision:
    """Given by the system, and harmless whoever gives it: it only does what was decided for a day that has come.

    What is held in the pool is held in the other one from now on.

    Raises: UnknownCommunity, EffectiveTooEarly (its day hasn't come).
    """
    community, pool = yield from read(Community.of(command.community), Account.of(pool_account(command.community)))
    merged, today = community.merged, _today(context)
    if merged is None:
        community.require()
        return Decided(0, ())
    if merged.effective_on > today:
        raise EffectiveTooEarly(today.isoformat(), merged.effective_on.isoformat())
    facts: list[Fact] = []
    if community.heir is None:
        facts.append(CommunityDissolved(command.community, merged.into))
    target, minutes = pool_account(merged.into), pool.balance_minutes
    if minutes > 0:
        facts.append(BalanceCarried(pool.account, target, minutes, "community-merged"))
    elif minutes < 0:
        facts.append(BalanceCarried(target, pool.account, -minutes, "community-merged"))
    return Decided(0, (*facts, *(yield from carry_holds(pool, target))))


def follow_place(command: FollowPlace, context: Context) -> Decision:
    """Given by the system, and harmless whoever gives it. A grid that isn't registered in the new place is left out.

    Raises: UnknownHousehold, ClosedHousehold, SamePlace.
    """
    household = yield from read(Household.of(command.household))
    home, today = household.require(), _today(context)
    community, grid = yield from registered_place_on(home, household.grid, today)
    if (community, grid) == (home, household.grid):
        raise SamePlace(command.household, "/".join((community, *grid)))
    moved = HouseholdMoved(command.household, community, grid, today)
    return Decided(0, (moved, *(yield from follow_requests(household, command.household, (community, grid)))))


def _today(context: Context) -> date:
    return context.now.astimezone(context.zone).date()


def _require_not_past(effective_on: date, context: Context) -> None:
    """Raises: EffectiveTooEarly."""
    if effective_on < _today(context):
        raise EffectiveTooEarly(effective_on.isoformat(), _today(context).isoformat())


@dataclass(unsafe_hash=True)
class EffectiveTooEarly(AgainstRule):
    effective_on: str
    earliest: str
    zh = "生效日 {effective_on} 太早，最早为 {earliest}。"
    en = "It can't take effect on {effective_on}; the earliest day is {earliest}."


@dataclass(unsafe_hash=True)
class GridNameTaken(AgainstRule):
    grid: str
    name: str
    zh = "网格“{grid}”那时就叫“{name}”，同级网格不能同名；互换名称请在一次变更中写明两个网格。"
    en = "The grid “{grid}” is called “{name}” by then; to swap two names, name both grids in one change."


@dataclass(unsafe_hash=True)
class UnknownSplit(Unknown):
    community: str
    into: str
    zh = "没有登记从社区“{community}”拆出“{into}”。"
    en = "No split of “{into}” from the community “{community}” is recorded."


@dataclass(unsafe_hash=True)
class SplitAlreadyDone(AlreadyDone):
    community: str
    into: str
    zh = "从社区“{community}”拆出“{into}”已经办完。"
    en = "The split of “{into}” from the community “{community}” was carried out already."


@dataclass(unsafe_hash=True)
class PlaceAlreadyMoved(AlreadyDone):
    place: str
    zh = "“{place}”的合并或变更已经登记过。"
    en = "It is recorded already what “{place}” becomes."


@dataclass(unsafe_hash=True)
class MovedIntoItself(AgainstRule):
    place: str
    zh = "“{place}”不能并入自身。"
    en = "“{place}” can't become a part of itself."
