"""The presets hold the numbers of their sources and no others, and every one of them can be proposed."""

import re
from dataclasses import asdict

import pytest

from domain.policy import AdoptPolicy, Policy
from domain.presets import PRESETS, Preset, described
from tests.controls import NOW

SETTINGS = {
    "nanjing": {
        "balance_minutes_max": 1500 * 60,
        "above_balance_max": "pool",
        "redemption_age_years_min": 60,
        "group_hours": "donate-only",
    },
    "beijing-2022": {"redemption_age_years_min": 60, "transfer": "family", "evidence_min": "checked-in"},
    "shanghai-2026": {"redemption_age_years_min": 65, "transfer": "anyone"},
    "changning": {"day_minutes_max": 2 * 60, "balance_minutes_max": 600 * 60},
    "guangzhou-2019": {
        "record_minutes_min": 60,
        "rounding_step_minutes": 60,
        "balance_minutes_max": 1500 * 60,
        "redemption_balance_minutes_min": 100 * 60,
    },
    "qingdao-2020": {"record_minutes_min": 60, "rounding_step_minutes": 60},
    "st-gallen": {"balance_minutes_max": 750 * 60},
    "northern-california": {
        "payer": "recipient",
        "balance_minutes_min": -10 * 60,
        "rounding": "up",
        "rounding_step_minutes": 15,
        "starting_grant_minutes": 2 * 60,
    },
    "cyclos": {},
}
"""What FIELD gives, setting by setting."""

each = pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)


def test_there_is_one_for_every_rule_book_and_one_for_the_sample() -> None:
    assert {name: PRESETS[name].settings for name in PRESETS if name != "qingxiu"} == SETTINGS
    assert [preset.name for preset in PRESETS.values()] == list(PRESETS)


@each
def test_a_preset_can_be_proposed_and_leaves_all_else_at_its_default(preset: Preset) -> None:
    command = AdoptPolicy.model_validate({"effective_on": NOW.date(), "policy": preset.settings})
    assert command.policy == preset.policy
    assert asdict(preset.policy) == asdict(Policy()) | preset.settings


@each
def test_a_preset_says_where_it_is_from_and_what_of_it_the_settings_hold(preset: Preset) -> None:
    assert preset.source
    assert preset.said
    assert bool(preset.settings) or preset.open
    for text in (preset.place, *preset.said, *preset.assumed, *preset.open, *preset.unsaid):
        assert re.search("[一-鿿]", text.zh) or text.zh.startswith("Cyclos")
        assert not re.search("[一-鿿]", text.en)
    shown = described(preset)
    assert (shown["name"], shown["settings"]) == (preset.name, preset.settings)
    assert shown["policy"] == asdict(preset.policy)
    assert len(shown["unsaid"]) == len(preset.unsaid)


def test_fifty_two_minutes_are_an_hour_in_northern_california() -> None:
    assert PRESETS["northern-california"].policy.service_minutes(52) == 60


def test_the_sample_keeps_the_limits_under_which_its_hours_are_served() -> None:
    hours_settings = list(asdict(Policy()))[: list(asdict(Policy())).index("request_hold")]
    assert not set(PRESETS["qingxiu"].settings) & set(hours_settings)
