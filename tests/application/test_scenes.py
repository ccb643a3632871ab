"""Scenes are played in order of time by a clock of their own, once, and never into a real ledger."""

from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from application.sample_scenes import STORIES
from application.scenes import (
    Cast,
    OldCredit,
    Played,
    SceneInRealLedger,
    Served,
    Settled,
    Stage,
    Step,
    Story,
    first_played,
    play,
    redemption_code,
)
from application.write_loop import Ticket, Writer, command_id
from domain.community import (
    CommunityAlreadyRegistered,
    CommunityRegistered,
    GridRegistered,
    RegisterCommunity,
    RegisterGrid,
    register_community,
    register_grid,
)
from domain.decision import Actor
from domain.ledger import OpenLedger, open_ledger
from tests.controls import ADMIN, GRID, JINHU, XINZHU, ZONE, at
from tests.in_memory import InMemoryFactStore

TODAY = date(2026, 11, 26)
CAST = Cast(
    visitor="V1",
    visitor_household="H1",
    home=XINZHU,
    elsewhere=JINHU,
    third="金花茶社区",
    served=(Served("H2", XINZHU, GRID), Served("H3", XINZHU, GRID)),
    near_visitor=Served("H2", XINZHU, GRID),
    old_members=(),
    savers=(OldCredit("H4", "R3"), OldCredit("H5", "R4")),
    disputable=Settled("R1", at("11-01 12:00")),
    disputable_of_visitor=Settled("R2", at("11-01 12:00")),
    split_grid="第1网格",
    other_grid="第2网格",
    followers=("H4",),
    last_served_on=date(2026, 10, 31),
    consenting=("V7", "V8"),
)
STAGE = Stage(today=TODAY, zone=ZONE, ledger="qingxiu", cast=CAST, neighbour="xingning")


def opened(*, synthetic: bool = True) -> InMemoryFactStore:
    store = InMemoryFactStore()
    opening = OpenLedger(name="合成示例区", synthetic=synthetic)
    Writer(store, ZONE).run([Ticket(open_ledger, opening, ADMIN, command_id("@system", "open"))])
    return store


def a_community_is_founded(stage: Stage) -> Iterator[Step]:
    yield stage.step(-5, "09:00", ADMIN, register_community, RegisterCommunity(community=XINZHU))
    yield stage.step(-1, "09:00", ADMIN, register_grid, RegisterGrid(community=XINZHU, grid=GRID))


def another_is_founded(stage: Stage) -> Iterator[Step]:
    yield stage.step(-3, "09:00", ADMIN, register_community, RegisterCommunity(community=JINHU))
    yield stage.step(-3, "09:00", ADMIN, register_grid, RegisterGrid(community=JINHU, grid=GRID))


def one_is_founded_again(stage: Stage) -> Iterator[Step]:
    yield stage.step(-4, "09:00", ADMIN, register_community, RegisterCommunity(community=XINZHU))
    yield stage.step(-2, "09:00", ADMIN, register_community, RegisterCommunity(community="金花茶社区"))


TWO: tuple[Story, ...] = (another_is_founded, a_community_is_founded)


def test_steps_of_all_scenes_are_played_in_order_of_time_a_batch_a_moment() -> None:
    store = opened()
    assert play(store, STAGE, TWO) == Played(recorded=4)
    assert store.facts[1:] == [
        CommunityRegistered(XINZHU, XINZHU),
        CommunityRegistered(JINHU, JINHU),
        GridRegistered(JINHU, GRID),
        GridRegistered(XINZHU, GRID),
    ]
    assert store.appends == 1 + 3


def test_what_is_played_is_decided_by_the_clock_of_the_scenes() -> None:
    store = opened()
    play(store, STAGE, TWO)
    decided_at = [envelope.decided_at for envelope in store.envelopes[1:]]
    assert decided_at == [STAGE.at(-5, "09:00"), *[STAGE.at(-3, "09:00")] * 2, STAGE.at(-1, "09:00")]


def test_playing_again_adds_nothing_and_another_day_goes_on_from_the_first() -> None:
    store = opened()
    play(store, STAGE, TWO[1:])
    later = Stage(today=TODAY + timedelta(days=9), zone=ZONE, ledger="qingxiu", cast=CAST)
    assert first_played(store, later, TWO) == TODAY
    assert play(store, STAGE, TWO) == Played(recorded=2, repeated=2)
    assert play(store, STAGE, TWO) == Played(repeated=4)


def test_a_ledger_without_scenes_is_played_from_the_day_that_it_is() -> None:
    assert first_played(opened(), STAGE, TWO) == TODAY


def test_a_run_that_died_in_the_middle_is_completed() -> None:
    whole, broken = opened(), opened()
    play(whole, STAGE, TWO)

    def die() -> None:
        raise KeyboardInterrupt

    broken.after_append.extend([lambda: None, die])
    with pytest.raises(KeyboardInterrupt):
        play(broken, STAGE, TWO)
    assert len(broken.facts) < len(whole.facts)
    assert play(broken, STAGE, TWO) == Played(recorded=1, repeated=3)
    assert broken.facts == whole.facts


def test_a_refused_step_ends_its_own_scene_and_no_other() -> None:
    store = opened()
    played = play(store, STAGE, (*TWO, one_is_founded_again))
    assert played.refused == [("one_is_founded_again", CommunityAlreadyRegistered(XINZHU))]
    assert played.recorded == 4
    assert CommunityRegistered("金花茶社区", "金花茶社区") not in store.facts


def test_no_scene_enters_a_real_ledger() -> None:
    store = opened(synthetic=False)
    with pytest.raises(SceneInRealLedger, match="合成示例区"):
        play(store, STAGE, TWO)
    assert len(store.facts) == 1


def test_a_ledger_that_is_not_open_is_no_synthetic_one() -> None:
    with pytest.raises(SceneInRealLedger):
        play(InMemoryFactStore(), STAGE, TWO)


def test_the_same_scene_in_another_ledger_has_other_command_ids() -> None:
    one, other = opened(), opened()
    play(one, STAGE, TWO)
    play(other, Stage(today=TODAY, zone=ZONE, ledger="xingning", cast=CAST), TWO)
    assert not {e.command for e in one.envelopes[1:]} & {e.command for e in other.envelopes[1:]}


def test_codes_and_hashes_come_from_the_seed_alone() -> None:
    other = Stage(today=TODAY, zone=ZONE, ledger="qingxiu", cast=CAST, seed=8)
    assert STAGE.door_code("a") == STAGE.door_code("a") != STAGE.door_code("b")
    assert STAGE.door_code("a") != other.door_code("a")
    assert STAGE.redemption_code("RV") == redemption_code(7, "RV") != other.redemption_code("RV")
    assert STAGE.sha256("photo") != other.sha256("photo")


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_story_is_told_in_order_of_time_and_is_over_before_it_is_played(story: Story) -> None:
    times = [step.at for step in story(STAGE)]
    assert times
    assert STAGE.at(-30, "00:00") < min(times)
    assert max(times) < STAGE.at(0, "00:00")
    assert story.__doc__


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_story_told_twice_is_the_same(story: Story) -> None:
    assert list(story(STAGE)) == list(story(STAGE))


def test_no_two_stories_share_a_name() -> None:
    assert len({story.__name__ for story in STORIES}) == len(STORIES)


def test_only_staff_and_time_act_for_others() -> None:
    """Whoever a story names as a member acts by their own number, as a caller of the API would."""
    roles = {step.actor for story in STORIES for step in story(STAGE)}
    assert {Actor("D001", "admin"), Actor("@due", "admin"), Actor("PS-CANTEEN", "partner")} <= roles
    assert all(actor.id.startswith(("VS-", "V1")) for actor in roles if actor.role == "volunteer")
