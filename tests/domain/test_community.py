"""Communities and the grids below them, and how far staff reach."""

import pytest
from pydantic import ValidationError

from domain.community import (
    Community,
    CommunityAlreadyRegistered,
    CommunityRegistered,
    GridAlreadyRegistered,
    GridRegistered,
    OutsideCommunity,
    RegisterCommunity,
    RegisterGrid,
    UnknownCommunity,
    UnknownGrid,
    register_community,
    register_grid,
)
from domain.decision import Actor
from tests.controls import (
    ADMIN,
    COMMUNITY_REGISTERED,
    GRID,
    GRID_REGISTERED,
    JINHU,
    STAFF,
    STAFF_ELSEWHERE,
    XINZHU,
    given,
)


def test_a_community_is_registered_under_its_own_name() -> None:
    given().when(register_community, RegisterCommunity(community=XINZHU), actor=ADMIN).then(COMMUNITY_REGISTERED)


def test_a_community_may_have_an_id_beside_its_name() -> None:
    command = RegisterCommunity(community="QX-01", name="𠮷祥社区")
    given().when(register_community, command, actor=ADMIN).then(CommunityRegistered("QX-01", "𠮷祥社区"))


def test_a_rare_character_written_in_two_ways_is_one_community() -> None:
    composed, decomposed = RegisterCommunity(community="é社区"), RegisterCommunity(community="e\u0301社区")
    assert composed.community == decomposed.community


def test_a_community_is_registered_once() -> None:
    again = RegisterCommunity(community=XINZHU, name="新名")
    given(COMMUNITY_REGISTERED).when(register_community, again).refused(CommunityAlreadyRegistered(XINZHU))


def test_grids_are_registered_from_the_base_grid_down() -> None:
    base, meta, building = ("第3网格",), ("第3网格", "3-2"), ("第3网格", "3-2", "5栋")
    facts = [COMMUNITY_REGISTERED]
    for grid in (base, meta, building):
        registered = GridRegistered(XINZHU, grid)
        given(*facts).when(register_grid, RegisterGrid(community=XINZHU, grid=grid)).then(registered)
        facts.append(registered)
    assert given(*facts).state(Community.of(XINZHU)).grids == {base, meta, building}


@pytest.mark.parametrize(
    ("facts", "grid", "refusal"),
    [
        ((), GRID, UnknownCommunity(XINZHU)),
        ((CommunityRegistered(JINHU, JINHU),), GRID, UnknownCommunity(XINZHU)),
        ((COMMUNITY_REGISTERED,), ("第3网格", "3-2"), UnknownGrid(XINZHU, "第3网格")),
        ((COMMUNITY_REGISTERED, GRID_REGISTERED), ("第3网格", "3-2", "5栋"), UnknownGrid(XINZHU, "第3网格/3-2")),
        ((COMMUNITY_REGISTERED, GRID_REGISTERED), GRID, GridAlreadyRegistered(XINZHU, "第3网格")),
    ],
)
def test_a_grid_is_refused(facts: tuple, grid: tuple, refusal: Exception) -> None:
    given(*facts).when(register_grid, RegisterGrid(community=XINZHU, grid=grid)).refused(refusal)


@pytest.mark.parametrize("grid", [(), ("1", "2", "3", "4"), ("a/b",), ("",)])
def test_a_grid_path_has_one_to_three_names(grid: tuple) -> None:
    with pytest.raises(ValidationError):
        RegisterGrid(community=XINZHU, grid=grid)


@pytest.mark.parametrize(
    ("decide", "command"),
    [
        (register_community, RegisterCommunity(community=XINZHU)),
        (register_grid, RegisterGrid(community=XINZHU, grid=GRID)),
    ],
)
def test_staff_of_one_community_register_nothing_in_another(decide, command) -> None:
    facts = (COMMUNITY_REGISTERED,) if decide is register_grid else ()
    given(*facts).when(decide, command, actor=STAFF_ELSEWHERE).refused(OutsideCommunity(XINZHU, JINHU))
    for actor in (ADMIN, STAFF, Actor("S3", "staff")):
        assert given(*facts).when(decide, command, actor=actor).accepted
