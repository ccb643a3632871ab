"""Solvency: months to serve what is outstanding, and definitions for all that is shown."""

import pytest

from domain.solvency import DEFINITIONS, Identity, MonthServed, months_to_serve_all


@pytest.mark.parametrize(
    ("outstanding", "served", "months"),
    [
        (0, [100], 0),
        (100, [100], 1),
        (1000, [100, 300], 5),
        (1001, [100, 300], 5.1),
        (1, [0, 0, 600], 0.1),
        (600, [], None),
        (600, [0, 0], None),
    ],
)
def test_months_at_the_average_of_what_is_served_rounded_up(
    outstanding: int, served: list[int], months: float | None
) -> None:
    assert months_to_serve_all(outstanding, [MonthServed("2026-01", minutes) for minutes in served]) == months


def test_what_is_missing_shows_as_a_difference() -> None:
    assert Identity("新竹社区", 100, 20, 70, 30, 10, 5, 5).difference_minutes == 0
    assert Identity("新竹社区", 100, 20, 70, 30, 10, 5, 4).difference_minutes == 1


def test_every_figure_is_defined_in_both_languages() -> None:
    assert all(zh and en and not zh.isascii() and en.isascii() for zh, en in DEFINITIONS.values())
