"""Matching: in which order a volunteer sees the requests that are open.

The nearest in the tree of grids first; then services that the volunteer has given before; then the earliest window;
then what has waited longest. A request's position in the journal is its own, so no two requests ever tie.
"""

from datetime import datetime
from enum import IntEnum
from typing import NamedTuple

from domain.community import GridPath


class Place(NamedTuple):
    """A grid of a community; without a grid, the community at large."""

    community: str
    grid: GridPath = ()


class Distance(IntEnum):
    """How far apart two places are: the smallest unit that holds both. Where a grid isn't known, it is not shared."""

    SAME_BUILDING = 0
    SAME_META_GRID = 1
    SAME_BASE_GRID = 2
    SAME_COMMUNITY = 3
    ELSEWHERE = 4


class Rank(NamedTuple):
    """Where one open request comes in a volunteer's list; lower comes first."""

    distance: int
    service_is_new: bool
    earliest_at: datetime
    asked_position: int


def distance(one: Place, other: Place) -> Distance:
    if one.community != other.community:
        return Distance.ELSEWHERE
    shared = 0
    for a, b in zip(one.grid[:3], other.grid[:3], strict=False):
        if a != b:
            break
        shared += 1
    return Distance(Distance.SAME_COMMUNITY - shared)


def rank(
    home: Place, services_given: frozenset[str], place: Place, service: str, earliest_at: datetime, asked_position: int
) -> Rank:
    """The rank of a request for a volunteer who lives at ``home`` and has given ``services_given``."""
    return Rank(distance(home, place), service not in services_given, earliest_at, asked_position)
