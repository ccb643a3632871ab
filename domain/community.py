"""Communities and their grids: base grid > meta grid > building grid (基础网格、元网格、楼栋网格).

Places change, each from a day on: communities are renamed and merged, grids move to another path or community. A fact
keeps the place that it was recorded at; what that place has become by a day is followed from there (`became`). No place
is used again for another one, so what it was is never in doubt. What is decided about it is in `community_life`.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Annotated, Any, get_args

import msgspec
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from domain.decision import READINGS_KEPT, Context, Decided, Decision, Fold, Question, Reading, read
from domain.fact import Fact
from domain.identifiers import PlaceName
from domain.refusal import AgainstRule, AlreadyDone, NotAllowed, Unknown

GridPath = tuple[str, ...]


class CommunityRegistered(Fact, frozen=True, omit_defaults=True):
    """A community of the district was registered, and with it its pool."""

    type = "community-registered.v1"
    community: str
    name: str

    def tags(self) -> tuple[str, ...]:
        return ("community:" + self.community,)


class GridRegistered(Fact, frozen=True, omit_defaults=True):
    """A grid was registered; ``grid`` is its path below the community, from the base grid down."""

    type = "grid-registered.v1"
    community: str
    grid: GridPath

    def tags(self) -> tuple[str, ...]:
        return ("community:" + self.community,)


class CommunityRenamed(Fact, frozen=True, omit_defaults=True):
    """A community bears another name from a day on; its id, by which everything finds it, stays."""

    type = "community-renamed.v1"
    community: str
    name: str
    effective_on: date

    def tags(self) -> tuple[str, ...]:
        return ("community:" + self.community,)


class CommunityMerged(Fact, frozen=True, omit_defaults=True):
    """A community becomes a part of another one on a day; its grids keep their paths there."""

    type = "community-merged.v1"
    community: str
    into: str
    effective_on: date

    def tags(self) -> tuple[str, ...]:
        return ("community:" + self.community,)


class CommunityDissolved(Fact, frozen=True, omit_defaults=True):
    """The day of a merger came: nothing is registered in the community any more, and its pool is the other one's."""

    type = "community-dissolved.v1"
    community: str
    into: str

    def tags(self) -> tuple[str, ...]:
        return ("community:" + self.community,)


class GridMoved(Fact, frozen=True, omit_defaults=True):
    """A grid and all below it becomes another path on a day: renamed, merged with that grid, or another community's."""

    type = "grid-moved.v1"
    community: str
    grid: GridPath
    into_community: str
    into_grid: GridPath
    effective_on: date

    def tags(self) -> tuple[str, ...]:
        return ("community:" + self.community,)


class GridRenamed(Fact, frozen=True, omit_defaults=True):
    """A grid bears another name from a day on; its path, by which everything finds it, stays."""

    type = "grid-renamed.v1"
    community: str
    grid: GridPath
    name: str
    effective_on: date

    def tags(self) -> tuple[str, ...]:
        return ("community:" + self.community,)


class CommunitySplit(Fact, frozen=True, omit_defaults=True):
    """Some base grids of a community become a new one on a day, and ``minutes`` of its pool go over on that day. They
    are held until then."""

    type = "community-split.v1"
    community: str
    into: str
    minutes: int
    effective_on: date

    def tags(self) -> tuple[str, ...]:
        return ("community:" + self.community,)


class CommunityParted(Fact, frozen=True, omit_defaults=True):
    """The day of a split came: the new community's share of the pool is its own."""

    type = "community-parted.v1"
    community: str
    into: str

    def tags(self) -> tuple[str, ...]:
        return ("community:" + self.community,)


CommunityFact = (
    CommunityRegistered
    | GridRegistered
    | CommunityRenamed
    | CommunityMerged
    | CommunityDissolved
    | GridMoved
    | GridRenamed
    | CommunitySplit
    | CommunityParted
)
Move = CommunityMerged | GridMoved
Place = tuple[str, GridPath]


class Community(msgspec.Struct, frozen=True):
    """``name`` is None while the community is not registered; ``heir`` is the one that it is a part of by now.

    ``merged``, ``moves`` and ``splits`` are what it and its grids become, and ``grid_names`` what those are called, on
    days that may be to come; ``parted`` are the splits whose day has come.
    """

    community: str
    name: str | None = None
    grids: frozenset[GridPath] = frozenset()
    heir: str | None = None
    merged: CommunityMerged | None = None
    moves: tuple[GridMoved, ...] = ()
    grid_names: tuple[GridRenamed, ...] = ()
    splits: tuple[CommunitySplit, ...] = ()
    parted: frozenset[str] = frozenset()

    @staticmethod
    @lru_cache(READINGS_KEPT)
    def of(community: str) -> "Reading[Community]":
        return _fold.of(community)

    def require(self, grid: GridPath = ()) -> None:
        """Raises: UnknownCommunity, UnknownGrid, DissolvedCommunity."""
        if self.name is None:
            raise UnknownCommunity(self.community)
        if self.heir is not None:
            raise DissolvedCommunity(self.community, self.heir)
        if grid and grid not in self.grids:
            raise UnknownGrid(self.community, "/".join(grid))

    def grid_name_on(self, grid: GridPath, day: date) -> str:
        """What a grid is called on a day: the last part of its path until it was given another name."""
        names = [named for named in self.grid_names if named.grid == grid and named.effective_on <= day]
        # Of two names for one day the later one counts: `max` keeps the first of equals.
        return max(reversed(names), key=lambda named: named.effective_on).name if names else grid[-1]

    def move_of(self, grid: GridPath, day: date | None = None) -> Move | None:
        """What a place of this community becomes by a day (None: ever), in one step: the closest grid above it that
        moves, else the merger of the whole."""
        moves = [m for m in self.moves if grid[: len(m.grid)] == m.grid and (day is None or m.effective_on <= day)]
        if moves:
            return max(moves, key=lambda move: len(move.grid))
        return self.merged if self.merged and (day is None or self.merged.effective_on <= day) else None


def evolve(state: Community, fact: CommunityFact) -> Community:
    """The community after one fact of its own."""
    match fact:
        case CommunityRegistered() | CommunityRenamed():
            return replace(state, name=fact.name)
        case GridRegistered():
            return replace(state, grids=state.grids | {fact.grid})
        case CommunityMerged():
            return replace(state, merged=fact)
        case CommunityDissolved():
            return replace(state, heir=fact.into)
        case GridMoved():
            return replace(state, moves=(*state.moves, fact))
        case GridRenamed():
            return replace(state, grid_names=(*state.grid_names, fact))
        case CommunitySplit():
            return replace(state, splits=(*state.splits, fact))
        case CommunityParted():
            return replace(state, parted=state.parted | {fact.into})


_fold = Fold[Community]("community", Community, evolve, get_args(CommunityFact))


def _follow(community: str, grid: GridPath, day: date) -> Generator[str, Community, Place]:
    """Ask for communities by id until a place doesn't move on. Each move leads on once, so that a place which came back
    where it was stays there."""
    done: list[Move] = []
    while True:
        move = (yield community).move_of(grid, day)
        if move is None or move in done:
            return community, grid
        done.append(move)
        if isinstance(move, GridMoved):
            community, grid = move.into_community, (*move.into_grid, *grid[len(move.grid) :])
        else:
            community = move.into


def became(known: Callable[[str], Community], community: str, grid: GridPath, day: date) -> Place:
    """What a place has become by a day."""
    following = _follow(community, grid, day)
    try:
        wanted = next(following)
        while True:
            wanted = following.send(known(wanted))
    except StopIteration as stop:
        place: Place = stop.value
        return place


def registered_place_on(community: str, grid: GridPath, day: date) -> Generator[Question, Any, Place]:
    """What a place has become by a day, as far as it is registered there."""
    community, grid = yield from place_on(community, grid, day)
    grids = (yield from read(Community.of(community))).grids
    while grid and grid not in grids:
        grid = grid[:-1]
    return community, grid


def place_on(community: str, grid: GridPath, day: date) -> Generator[Question, Any, Place]:
    """As `became`, for a decision."""
    following = _follow(community, grid, day)
    try:
        wanted = next(following)
        while True:
            wanted = following.send((yield from read(Community.of(wanted))))
    except StopIteration as stop:
        place: Place = stop.value
        return place


class RegisterCommunity(BaseModel):
    """Register a community. Its id stays when the name changes; the name on signs may serve as the id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    name: PlaceName | None = None


class RegisterGrid(BaseModel):
    """Register a grid below a community; the grids above it must be registered already."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    community: PlaceName
    grid: Annotated[tuple[PlaceName, ...], Field(min_length=1, max_length=3)]


def register_community(command: RegisterCommunity, context: Context) -> Decision:
    """Raises: CommunityAlreadyRegistered, OutsideCommunity."""
    require_scope(context, command.community)
    state = yield from read(Community.of(command.community))
    if state.name is not None:
        raise CommunityAlreadyRegistered(command.community)
    return Decided(0, (CommunityRegistered(command.community, command.name or command.community),))


def register_grid(command: RegisterGrid, context: Context) -> Decision:
    """Raises: UnknownCommunity, UnknownGrid (the one above), DissolvedCommunity, GridAlreadyRegistered,
    OutsideCommunity."""
    require_scope(context, command.community)
    state = yield from read(Community.of(command.community))
    state.require(command.grid[:-1])
    if command.grid in state.grids:
        raise GridAlreadyRegistered(command.community, "/".join(command.grid))
    return Decided(0, (GridRegistered(command.community, command.grid),))


def require_scope(context: Context, community: str) -> None:
    """Staff of one community act on that one only; for a community that the command itself names (else
    `require_reach`). Raises: OutsideCommunity."""
    bound = context.actor.community
    if bound is not None and bound != community:
        raise OutsideCommunity(community, bound)


def require_reach(context: Context, community: str, unknown: Unknown) -> None:
    """What belongs to another community isn't there for staff of one: they must not learn whose it is from a refusal.

    Raises: ``unknown``, which is what they would be told if it did not exist.
    """
    if context.actor.community not in (None, community):
        raise unknown


@dataclass(unsafe_hash=True)
class UnknownCommunity(Unknown):
    community: str
    zh = "社区“{community}”没有登记。"
    en = "The community “{community}” is not registered."


@dataclass(unsafe_hash=True)
class UnknownGrid(Unknown):
    community: str
    grid: str
    zh = "社区“{community}”没有登记网格“{grid}”。"
    en = "The community “{community}” has no registered grid “{grid}”."


@dataclass(unsafe_hash=True)
class DissolvedCommunity(AgainstRule):
    community: str
    into: str
    zh = "社区“{community}”已经并入“{into}”，请在那里登记。"
    en = "The community “{community}” is a part of “{into}” now; register it there."


@dataclass(unsafe_hash=True)
class CommunityAlreadyRegistered(AlreadyDone):
    community: str
    zh = "社区“{community}”已经登记。"
    en = "The community “{community}” is registered already."


@dataclass(unsafe_hash=True)
class GridAlreadyRegistered(AlreadyDone):
    community: str
    grid: str
    zh = "社区“{community}”的网格“{grid}”已经登记。"
    en = "The grid “{grid}” of “{community}” is registered already."


@dataclass(unsafe_hash=True)
class OutsideCommunity(NotAllowed):
    community: str
    own_community: str
    zh = "您只能处理“{own_community}”的事务，不能处理“{community}”的。"
    en = "You may act for “{own_community}” only, not for “{community}”."
