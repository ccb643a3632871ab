"""What is published of a month: never of fewer people than the policy says, whatever is asked of it."""

import hashlib
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.published_list import (
    RANGES_MINUTES,
    Cell,
    Group,
    Listed,
    ServiceGiven,
    VolunteerServed,
    figure,
    groups,
    is_large_enough,
    large_enough,
    list_sha256,
    pseudonym,
    put_together,
    rows,
    volunteers,
)
from tests.controls import JINHU, XINZHU

SECRET = bytes(range(32))
SERVICES = st.lists(
    st.builds(
        ServiceGiven,
        volunteer=st.sampled_from([f"V{n}" for n in range(12)]),
        recipient_household=st.sampled_from([None, *(f"H{n}" for n in range(12))]),
        community=st.sampled_from([XINZHU, JINHU, "金花茶社区", "仙葫社区"]),
        service=st.sampled_from(["助餐", "助洁"]),
        minutes=st.integers(1, 3000),
    ),
    max_size=80,
)
PLACES = st.lists(
    st.tuples(
        st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(tuple), st.integers(0, 9), st.integers(0, 9)
    ),
    max_size=40,
)
SERVED = st.lists(
    st.builds(
        VolunteerServed,
        person=st.integers(0, 10**6).map(lambda n: f"P{n}"),
        community=st.sampled_from([XINZHU, JINHU, "金花茶社区"]),
        minutes=st.integers(0, 5000),
    ),
    max_size=60,
    unique_by=lambda one: one.person,
)
COUNT_MIN = st.integers(2, 8)


def given_by(volunteer: str, household: str | None = "H1", minutes: int = 60, **changes: Any) -> ServiceGiven:
    return ServiceGiven(volunteer, household, XINZHU, "助餐", minutes)._replace(**changes)


def many(count: int, community: str, start: int = 0) -> list[ServiceGiven]:
    return [given_by(f"V{n}", f"H{n}", community=community) for n in range(start, start + count)]


# ── Groups ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(services=SERVICES, count_min=COUNT_MIN)
def test_no_group_is_smaller_than_it_may_be_and_none_can_be_worked_out(
    services: list[ServiceGiven], count_min: int
) -> None:
    found = groups(services, lambda one: one.community, count_min)
    for group in found:
        assert is_large_enough(group.volunteers, group.households_served, count_min)
    # Either everything is in a group, so that nothing is left to be subtracted, or nothing is published.
    total = figure(services)
    assert found == [] or sum(group.service_records for group in found) == total.service_records
    assert found == [] or sum(group.service_minutes for group in found) == total.service_minutes
    if not found and services:
        everybody = len({one.volunteer for one in services})
        assert not is_large_enough(everybody, total.households_served, count_min)


def test_what_is_too_small_is_put_together_and_takes_the_smallest_other_with_it() -> None:
    services = [*many(9, XINZHU), *many(6, JINHU, 20), *many(2, "金花茶社区", 40)]
    assert groups(services, lambda one: one.community, 2) == [
        Group("新竹社区", 9, 9, 540, 9),
        Group("金湖社区", 6, 6, 360, 6),
        Group("金花茶社区", 2, 2, 120, 2),
    ]
    assert groups(services, lambda one: one.community, 5) == [Group(XINZHU, 9, 9, 540, 9), Group("", 8, 8, 480, 8)]
    assert groups(services, lambda one: one.community, 10) == [Group("", 17, 17, 1020, 17)]
    assert groups(services, lambda one: one.community, 18) == []
    assert groups([], lambda one: one.community, 2) == []


def counted(places: list[tuple[tuple[str, ...], int, int]], level: int) -> dict[tuple[str, ...], Cell]:
    """Hours of service at some places, by those of a level."""
    cells: dict[tuple[str, ...], Cell] = {}
    for path, volunteer, household in places:
        cell = cells.setdefault(path[:level], Cell())
        cell.volunteers.add(f"V{volunteer}")
        if household:
            cell.households.add(f"H{household}")
        cell.service_minutes += 60
        cell.records += 1
    return cells


@given(places=PLACES, count_min=COUNT_MIN)
def test_no_place_can_be_worked_out_from_those_above_and_beside_it(
    places: list[tuple[tuple[str, ...], int, int]], count_min: int
) -> None:
    above: dict[tuple[str, ...], Cell] = {}
    for level in range(5):
        found = put_together(counted(places, level), count_min)
        assert all(cell.fits(count_min) for cell in found.values())
        # Whatever is shown of a place, further down or as its rest, comes to what is shown of the place.
        sums: dict[tuple[str, ...], int] = {}
        for path, cell in found.items():
            into = path if len(path) < level else path[:-1]
            sums[into] = sums.get(into, 0) + cell.service_minutes
        if level > 0:
            assert sums == {path: cell.service_minutes for path, cell in above.items()}
        above = found


def test_few_households_are_too_few_however_many_served_them() -> None:
    services = [given_by(f"V{n}", "H1") for n in range(30)]
    assert groups(services, lambda one: one.community, 5) == []
    for_nobody = [given_by(f"V{n}", None) for n in range(5)]
    assert groups(for_nobody, lambda one: one.community, 5) == [Group(XINZHU, 5, 0, 300, 5)]


# ── Lists ────────────────────────────────────────────────────────────────────────────────────────────────────


@given(served=SERVED, count_min=COUNT_MIN)
def test_so_many_are_alike_in_all_but_the_pseudonym(served: list[VolunteerServed], count_min: int) -> None:
    listed = rows(served, count_min)
    alike = Counter((row.community, row.minutes_from, row.minutes_below) for row in listed)
    assert all(count >= count_min for count in alike.values())
    by_person = {one.person: one for one in served}
    assert len({row.pseudonym for row in listed}) == len(listed)
    for row in listed:
        one = by_person[row.pseudonym]
        assert row.community in (None, one.community)
        assert row.minutes_from <= one.minutes
        assert row.minutes_below is None or one.minutes < row.minutes_below
    assert [row.pseudonym for row in listed] == sorted(row.pseudonym for row in listed)


@given(served=SERVED, count_min=COUNT_MIN, data=st.data())
def test_without_those_who_withdrew_so_many_are_still_alike_and_the_hash_is_the_sealed_one(
    served: list[VolunteerServed], count_min: int, data: st.DataObject
) -> None:
    listed = rows(served, count_min)
    left = [row for row in listed if data.draw(st.booleans())]
    kept = large_enough(left, count_min)
    assert all(count >= count_min for count in Counter((r.community, r.minutes_from) for r in kept).values())
    withheld = [row.sha256() for row in listed if row not in kept]
    assert list_sha256((*withheld, *(row.sha256() for row in kept))) == list_sha256(r.sha256() for r in listed)


def test_too_few_in_a_community_are_listed_without_it() -> None:
    served = [VolunteerServed(f"P{n}", XINZHU if n < 3 else JINHU, 130) for n in range(6)]
    assert {row.community for row in rows(served, 3)} == {XINZHU, JINHU}
    assert rows(served, 4) == [Listed(f"P{n}", None, 120, 300) for n in range(6)]
    assert rows(served, 7) == []


@pytest.mark.parametrize(
    ("minutes", "found"),
    [
        (0, (0, 120)),
        (119, (0, 120)),
        (120, (120, 300)),
        (2399, (1200, 2400)),
        (2400, (2400, None)),
        (9999, (2400, None)),
    ],
)
def test_minutes_are_told_as_a_range(minutes: int, found: tuple[int, int | None]) -> None:
    (row, _) = rows([VolunteerServed(name, XINZHU, minutes) for name in ("P1", "P2")], 2)
    assert (row.minutes_from, row.minutes_below) == found
    assert found[0] in RANGES_MINUTES


def test_a_volunteer_counts_where_most_was_given() -> None:
    given_in = [given_by("V1"), given_by("V1", minutes=90, community=JINHU), given_by("V2"), given_by("V2")]
    tie = [given_by("V3"), given_by("V3", community=JINHU)]
    assert volunteers((*given_in, *tie)) == [
        VolunteerServed("V1", JINHU, 150),
        VolunteerServed("V2", XINZHU, 120),
        VolunteerServed("V3", min(XINZHU, JINHU), 120),
    ]


def test_the_hash_of_a_row_is_over_its_json() -> None:
    row = Listed("ABCD-EFGH-IJKL-MNOP", XINZHU, 120, None)
    written = json.dumps(["ABCD-EFGH-IJKL-MNOP", XINZHU, 120, None], ensure_ascii=False, separators=(",", ":"))
    assert row.sha256() == hashlib.sha256(written.encode()).digest()
    assert list_sha256([row.sha256()]) == hashlib.sha256(row.sha256()).hexdigest()
    assert list_sha256([b"b" * 32, b"a" * 32]) == list_sha256([b"a" * 32, b"b" * 32])


# ── Pseudonyms ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pseudonym_is_another_one_every_month_in_every_ledger_and_for_every_secret() -> None:
    name = pseudonym(SECRET, "qingxiu", "2026-10", "V1")
    assert name == pseudonym(SECRET, "qingxiu", "2026-10", "V1") == "YDTB-4MF5-4BF7-NLUE"
    others = {
        pseudonym(SECRET, "qingxiu", "2026-11", "V1"),
        pseudonym(SECRET, "xingning", "2026-10", "V1"),
        pseudonym(SECRET, "qingxiu", "2026-10", "V2"),
        pseudonym(bytes(32), "qingxiu", "2026-10", "V1"),
    }
    assert len({name, *others}) == 5
    assert all(len(one) == 19 and one.replace("-", "").isalnum() for one in (name, *others))


def test_parts_of_what_is_hashed_cannot_be_shifted_into_one_another() -> None:
    assert pseudonym(SECRET, "a", "b1", "V1") != pseudonym(SECRET, "ab", "1", "V1")
