"""Communities and their grids: base grid > meta grid > building grid (基础网格、元网格、楼栋网格)."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from domain.decision import READINGS_KEPT, Context, Decided, Decision, Fold, Reading, read
from domain.fact import Fact
from domain.identifiers import PlaceName
from domain.refusal import AlreadyDone, NotAllowed, Unknown

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


CommunityFact = CommunityRegistered | GridRegistered


class Community(msgspec.Struct, frozen=True):
    """``name`` is None while the community is not registered."""

    community: str
    name: str | None = None
    grids: frozenset[GridPath] = frozenset()

    @staticmethod
    @lru_cache(READINGS_KEPT)
    def of(community: str) -> "Reading[Community]":
        return _fold.of(community)

    def require(self, grid: GridPath = ()) -> None:
        """Raises: UnknownCommunity, UnknownGrid."""
        if self.name is None:
            raise UnknownCommunity(self.community)
        if grid and grid not in self.grids:
            raise UnknownGrid(self.community, "/".join(grid))


def _evolve(state: Community, fact: CommunityFact) -> Community:
    match fact:
        case CommunityRegistered():
            return Community(state.community, fact.name, state.grids)
        case GridRegistered():
            return Community(state.community, state.name, state.grids | {fact.grid})


_fold = Fold[Community]("community", Community, _evolve, (CommunityRegistered, GridRegistered))


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
    """Raises: UnknownCommunity, UnknownGrid (the one above), GridAlreadyRegistered, OutsideCommunity."""
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
