"""In which order a volunteer sees what is open: one order for all, and the nearest first."""

from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.community import GridPath
from domain.matching import Distance, Place, Rank, distance, rank
from tests.controls import JINHU, NOW, XINZHU

GRIDS = st.lists(st.sampled_from(["1", "2"]), max_size=3).map(tuple)
PLACES = st.builds(Place, st.sampled_from([XINZHU, JINHU]), GRIDS)
HOME = Place(XINZHU, ("第3网格", "甲", "2栋"))


@pytest.mark.parametrize(
    ("community", "grid", "expected"),
    [
        (XINZHU, ("第3网格", "甲", "2栋"), Distance.SAME_BUILDING),
        (XINZHU, ("第3网格", "甲", "3栋"), Distance.SAME_META_GRID),
        (XINZHU, ("第3网格", "甲"), Distance.SAME_META_GRID),
        (XINZHU, ("第3网格", "乙", "2栋"), Distance.SAME_BASE_GRID),
        (XINZHU, ("第3网格",), Distance.SAME_BASE_GRID),
        (XINZHU, ("第4网格", "甲", "2栋"), Distance.SAME_COMMUNITY),
        (XINZHU, (), Distance.SAME_COMMUNITY),
        (JINHU, ("第3网格", "甲", "2栋"), Distance.ELSEWHERE),
    ],
)
def test_places_are_as_far_apart_as_the_smallest_unit_that_holds_both(
    community: str, grid: GridPath, expected: Distance
) -> None:
    assert distance(HOME, Place(community, grid)) is expected


@given(PLACES, PLACES, PLACES)
def test_distance_is_the_same_both_ways_and_no_way_round_is_shorter(a: Place, b: Place, c: Place) -> None:
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= max(distance(a, b), distance(b, c))


REQUESTS = st.lists(
    st.tuples(PLACES, st.sampled_from(["助餐", "助洁", "陪诊"]), st.integers(0, 3), st.integers(1, 50)),
    unique_by=lambda request: request[3],
    max_size=12,
)


def ranked(home: Place, given_before: frozenset[str], request: Any) -> Rank:
    place, service, hours, position = request
    return rank(home, given_before, place, service, NOW + timedelta(hours=hours), position)


@given(PLACES, st.frozensets(st.sampled_from(["助餐", "助洁"])), REQUESTS, st.randoms())
def test_no_two_requests_tie_and_the_order_is_the_same_however_they_are_found(
    home: Place, given_before: frozenset[str], requests: list[Any], dice: Any
) -> None:
    in_order = sorted(requests, key=lambda request: ranked(home, given_before, request))
    dice.shuffle(requests)
    assert sorted(requests, key=lambda request: ranked(home, given_before, request)) == in_order
    for earlier, later in combinations(in_order, 2):
        one, other = ranked(home, given_before, earlier), ranked(home, given_before, later)
        assert one < other
        assert distance(home, earlier[0]) <= distance(home, later[0])


def test_near_comes_before_known_and_known_before_early_and_early_before_long_waiting() -> None:
    near, far = HOME, Place(XINZHU)
    soon, later = NOW, NOW + timedelta(days=1)
    known = frozenset({"助餐"})
    assert [
        *sorted(
            (
                rank(HOME, known, far, "助餐", soon, 1),
                rank(HOME, known, near, "助餐", later, 6),
                rank(HOME, known, near, "助洁", soon, 2),
                rank(HOME, known, near, "助餐", later, 5),
                rank(HOME, known, near, "助餐", soon, 7),
            )
        )
    ] == [
        rank(HOME, known, near, "助餐", soon, 7),
        rank(HOME, known, near, "助餐", later, 5),
        rank(HOME, known, near, "助餐", later, 6),
        rank(HOME, known, near, "助洁", soon, 2),
        rank(HOME, known, far, "助餐", soon, 1),
    ]
