"""``timebank policy``: the presets, and dry runs over a small district."""

import json
from pathlib import Path

import pytest

from api.wiring import adopted_policies, timebank
from domain.presets import PRESETS
from tests.api.processes import answer, run
from tests.conftest import settings_for


@pytest.fixture
def district(sample_url: str) -> dict[str, str]:
    return {"TIMEBANK_DATABASE_URL": sample_url}


def test_presets_are_listed_and_one_is_shown() -> None:
    assert [item["name"] for item in answer("policy", "presets")] == list(PRESETS)
    (one,) = answer("policy", "presets", "st-gallen")
    assert one["policy"]["balance_minutes_max"] == 45_000
    shown = run("policy", "presets", "st-gallen").stdout
    assert "balance_minutes_max = 45000" in shown
    assert "由市政府担保存量 / the city guarantees the stock" in shown
    unknown = run("policy", "presets", "atlantis")
    assert unknown.returncode == 1
    assert "nanjing" in unknown.stderr


def test_a_dry_run_of_the_rules_in_force_affects_nobody(district: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "same.json"
    file.write_text("{}")
    report = answer("policy", "dry-run", file, **district)
    assert (report["effects"], report["accounts"], report["affected"], report["kept"]) == ([], [], [], {})
    assert report["records"] > 0
    assert report["total_before"] == report["total_after"]
    assert report["synthetic"]


def test_a_dry_run_says_who_would_be_affected_and_why(district: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "stricter.json"
    file.write_text(json.dumps({"record_minutes_min": 60, "balance_minutes_max": 600}))
    position = answer("db", "status", **district)["ledgers"]["qingxiu"]
    report = answer("policy", "dry-run", file, "--limit", 3, **district)
    assert {effect["code"] for effect in report["effects"]} == {"record-too-short", "above-cap"}
    assert len(report["accounts"]) == len(report["affected"]) == 3
    assert report["total_after"]["credited_minutes"] < report["total_before"]["credited_minutes"]
    assert {item["setting"] for item in report["settings"]} == {"record_minutes_min", "balance_minutes_max"}
    shown = run("policy", "dry-run", file, **district).stdout
    for text in ("record-too-short", "时长过短", "balance_minutes_max: 90000 → 600", "合成数据"):
        assert text in shown
    none = answer("policy", "dry-run", file, "--from", "2030-01-01", **district)
    assert none["effects"] == []
    assert answer("db", "status", **district)["ledgers"]["qingxiu"] == position  # nothing was written


def test_a_preset_is_tried_by_its_name(district: dict[str, str]) -> None:
    report = answer("policy", "dry-run", "--preset", "changning", "--to", "2024-12-31", **district)
    assert {effect["code"] for effect in report["effects"]} <= {"day-too-long", "above-cap"}
    assert all(each["day"] <= "2024-12-31" for each in report["affected"] if each["code"] == "day-too-long")


@pytest.mark.parametrize(
    ("arguments", "content", "said"),
    [
        (("policy.json",), "{", "is no JSON"),
        (("policy.json",), '{"no_such_rule": 1}', "no_such_rule"),
        (("policy.json",), '{"record_minutes_min": 0}', "record_minutes_min"),
        (("policy.json",), '{"record_minutes_min": 90, "record_minutes_max": 60}', "最短时长"),
        (("missing.json",), "{}", "missing.json"),
        (("--preset", "atlantis"), "{}", "nanjing"),
        (("policy.json", "--from", "yesterday"), "{}", "yesterday"),
        (("policy.json", "--from", "2026-01-02", "--to", "2026-01-01"), "{}", "--from"),
        (("policy.json", "--preset", "nanjing"), "{}", "--preset"),
        ((), "{}", "--preset"),
    ],
)
def test_what_can_not_be_tried_is_said_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], content: str, said: str
) -> None:
    (tmp_path / "policy.json").write_text(content)
    paths = [tmp_path / name if name.endswith(".json") else name for name in arguments]
    done = run("policy", "dry-run", *paths, TIMEBANK_DATA=tmp_path / "data")
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_ledger_may_be_opened_with_the_rules_of_another_place(ledgers_url: str) -> None:
    settings = {"TIMEBANK_DATABASE_URL": ledgers_url, "TIMEBANK_LEDGER": "gallen"}
    opening = ("db", "open", "--name", "x", "--policy-from", "2020-01-01")
    assert run(*opening, "--preset", "atlantis", **settings).returncode == 1
    answer(*opening, "--preset", "st-gallen", **settings)
    with timebank(settings_for(ledgers_url, "gallen")) as bank:
        (adopted,) = adopted_policies(bank.store)
    assert adopted.policy == PRESETS["st-gallen"].policy
