"""Places that change: communities are renamed, split and merged, grids renamed, merged and moved, each from a day on.

Nothing that was recorded is touched. On its day a merged community's pool goes to the other one and its households
follow, by commands that the system gives when they are due; figures roll places up into what they have become by a day.
"""

from dataclasses import dataclass
from datetime import date
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.account import Account, BalanceCarried, pool_account, require_cover
from domain.community import (
    Community,
    CommunityAlreadyRegistered,
    CommunityDissolved,
    CommunityMerged,
    CommunityRegistered,
    CommunityRenamed,
    GridMoved,
    GridRegistered,
    place_on,
)
from domain.decision import Context, Decided, Decision, read
from domain.fact import Fact
from domain.household import Household, HouseholdMoved
from domain.household_life import SamePlace, require_nothing_held
from domain.identifiers import HouseholdId, PlaceName
from domain.refusal import AgainstRule, AlreadyDone

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


class SplitCommunity(BaseModel):
    """Make some base grids a new community from a day on. Its pool gets its share at once, to have it by then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    into: PlaceName
    name: PlaceName | None = None
    grids: Annotated[tuple[PlaceName, ...], Field(min_length=1, max_length=200)]
    minutes: Annotated[int, Field(ge=0, le=60_000_000, description="The new pool's share, in minutes.")]
    effective_on: date


class CompleteMerger(BaseModel):
    """Carry out what a merger of communities means for the pool: due on its day, and whenever minutes came since."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName


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
    BalanceTooLow (the pool's), EffectiveTooEarly."""
    _require_not_past(command.effective_on, context)
    community, new = yield from read(Community.of(command.community), Community.of(command.into))
    if new.name is not None:
        raise CommunityAlreadyRegistered(command.into)
    facts: list[Fact] = [CommunityRegistered(command.into, command.name or command.into)]
    for name in command.grids:
        _require_unmoved(community, (name,))
        facts += [GridRegistered(command.into, grid) for grid in sorted(community.grids) if grid[0] == name]
        facts.append(GridMoved(command.community, (name,), command.into, (name,), command.effective_on))
    if command.minutes:
        pool = yield from read(Account.of(pool_account(command.community)))
        require_cover(pool, command.minutes, 0)
        facts.append(BalanceCarried(pool.account, pool_account(command.into), command.minutes, "community-split"))
    return Decided(0, tuple(facts))


def complete_merger(command: CompleteMerger, context: Context) -> Decision:
    """Given by the system, and harmless whoever gives it: it only does what was decided for a day that has come.

    Raises: UnknownCommunity, EffectiveTooEarly (its day hasn't come), MinutesStillHeld.
    """
    community, pool = yield from read(Community.of(command.community), Account.of(pool_account(command.community)))
    merged, today = community.merged, _today(context)
    if merged is None:
        community.require()
        return Decided(0, ())
    if merged.effective_on > today:
        raise EffectiveTooEarly(today.isoformat(), merged.effective_on.isoformat())
    require_nothing_held(pool)
    facts: list[Fact] = []
    if community.heir is None:
        facts.append(CommunityDissolved(command.community, merged.into))
    target, minutes = pool_account(merged.into), pool.balance_minutes
    if minutes > 0:
        facts.append(BalanceCarried(pool.account, target, minutes, "community-merged"))
    elif minutes < 0:
        facts.append(BalanceCarried(target, pool.account, -minutes, "community-merged"))
    return Decided(0, tuple(facts))


def follow_place(command: FollowPlace, context: Context) -> Decision:
    """Given by the system, and harmless whoever gives it. A grid that isn't registered in the new place is left out.

    Raises: UnknownHousehold, ClosedHousehold, SamePlace.
    """
    household = yield from read(Household.of(command.household))
    home, today = household.require(), _today(context)
    community, grid = yield from place_on(home, household.grid, today)
    grids = (yield from read(Community.of(community))).grids
    while grid and grid not in grids:
        grid = grid[:-1]
    if (community, grid) == (home, household.grid):
        raise SamePlace(command.household, "/".join((community, *grid)))
    return Decided(0, (HouseholdMoved(command.household, community, grid, today),))


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
class PlaceAlreadyMoved(AlreadyDone):
    place: str
    zh = "“{place}”的合并或变更已经登记过。"
    en = "It is recorded already what “{place}” becomes."


@dataclass(unsafe_hash=True)
class MovedIntoItself(AgainstRule):
    place: str
    zh = "“{place}”不能并入自身。"
    en = "“{place}” can't become a part of itself."
