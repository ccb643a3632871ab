"""Redeeming over HTTP: reserved, collected with a code that is spent once, released, reversed; and races for it."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from api.due import ACTOR, DUE, run_due
from api.wiring import Timebank, known
from application.write_loop import Accepted, Ticket, Writer
from domain.account import Account, FundPool, GrantMinutes, PartnerSettled, fund_pool, grant_minutes
from domain.community import RegisterCommunity, register_community
from domain.decision import Actor
from domain.household import RegisterHousehold, RegisterMember, register_household, register_member
from domain.partner import (
    OfferReward,
    RegisterPartner,
    Reward,
    SettlePartner,
    offer_reward,
    register_partner,
    settle_partner,
)
from domain.redemption import (
    COLLECTION_GRACE,
    CollectReward,
    ReleaseReservation,
    Reservation,
    ReserveReward,
    code_sha256,
    collect,
    release,
    reserve,
)
from domain.refusal import Refusal
from tests.api.service import XINZHU, Api, serving
from tests.api.shop import all_bytes, balance, open_shop
from tests.controls import CODE
from tests.projections.history import projecting

RACERS = 16
RELEASE = [kind for kind in DUE if kind.name == "release reservations"]


def test_a_member_reserves_and_the_counter_collects_and_the_minutes_move(api: Api) -> None:
    shop = open_shop(api, items=2)
    household = shop.household(100)
    member = "M-" + household
    reserved = api.wrote("/v1/reservations", shop.asked(household), member)
    assert reserved["facts"] == ["reward-reserved.v1", "minutes-held.v1"]
    path = f"/v1/reservations/{reserved['reservation']}"
    assert balance(api, household) == (100, 30)
    found = api.read(path, member)
    assert (found["status"], found["member"], found["minutes"]) == ("reserved", member, 30)
    assert "code_sha256" not in found
    assert api.read(f"/v1/rewards/{shop.reward}", member)["items_left"] == 1
    collected = api.wrote(path + "/collection", {"code": "abcd-efgh ijkl-mnop"}, shop.partner)
    assert collected["facts"] == ["minutes-released.v1", "reward-collected.v1"]
    assert balance(api, household) == (70, 0)
    assert api.read(path, member)["status"] == "collected"
    reward = api.read(f"/v1/rewards/{shop.reward}", member)
    assert (reward["items_left"], reward["items_reserved"], reward["items_collected"]) == (1, 0, 1)
    api.problem(api.post(path + "/collection", {"code": CODE}, shop.partner), 409, "reservation-already-collected")
    undone = api.wrote(path + "/reversal", {"reason": "other", "restocked": True}, "S1")
    assert undone["facts"] == ["redemption-reversed.v1"]
    assert balance(api, household) == (100, 0)
    again = api.post(path + "/reversal", {"reason": "other", "restocked": True}, "S1")
    api.problem(again, 409, "redemption-already-reversed")
    assert api.read(f"/v1/rewards/{shop.reward}", member)["items_left"] == 2


def test_who_reserves_what_they_may_not_is_told_why(api: Api) -> None:
    shop, dear = open_shop(api, items=1, household_month_max=1), open_shop(api, minutes=500, age_years_min=60)
    household, other = shop.household(100), shop.household(100)
    member = "M-" + household

    def refused(status: int, code: str, by: str = member, **changes: Any) -> dict[str, Any]:
        return api.problem(api.post("/v1/reservations", shop.asked(household, **changes), by), status, code)

    refused(404, "unknown-reward", reward="RW-NONE")
    refused(404, "unknown-member", member="M-NONE")
    refused(404, "unknown-member", by="M-" + other)
    refused(404, "unknown-member", by="S9")
    assert refused(422, "age-not-attested", reward=dear.reward)["age_years_min"] == 60
    api.wrote("/v1/ages", {"person": member, "age_years_min": 60}, "S1")
    assert refused(422, "balance-too-low", reward=dear.reward)["available_minutes"] == 100
    refused(422, "invalid-request", code_sha256=CODE)
    number = shop.reserved(household)
    refused(409, "reservation-already-made", reservation=number)
    refused(422, "reward-out-of-stock")
    api.wrote(f"/v1/rewards/{shop.reward}/stock", {"items": 1}, shop.partner)
    refused(422, "reward-limit-reached")
    rich, elsewhere = open_shop(api, balance_minutes_min=101), open_shop(api, communities=["金湖社区"])
    assert refused(422, "redemption-balance-too-low", reward=rich.reward)["balance_minutes_min"] == 101
    refused(422, "reward-not-for-community", reward=elsewhere.reward)
    api.wrote(f"/v1/rewards/{shop.reward}/withdrawal", None, "S1")
    refused(409, "reward-already-withdrawn")


def test_staff_reserve_for_a_member_without_a_phone(api: Api) -> None:
    shop = open_shop(api)
    household = shop.household(100)
    number = api.wrote("/v1/reservations", shop.asked(household), "S1")["reservation"]
    assert api.read(f"/v1/reservations/{number}", "M-" + household)["reserved_by"] == "S1"


def test_a_counter_collects_its_own_with_the_right_code_at_a_time_that_fits(api: Api) -> None:
    shop, other = open_shop(api), open_shop(api)
    number = shop.reserved(shop.household(100))
    path = f"/v1/reservations/{number}/collection"
    api.problem(api.post(path, {"code": CODE}, other.partner), 404, "unknown-reservation")
    api.problem(api.post(path, {"code": CODE}, "S9"), 404, "unknown-reservation")
    api.problem(api.post(path, {"code": "P" * 16}, shop.partner), 403, "wrong-code")
    api.problem(api.post(path, {"code": "SHORT"}, shop.partner), 422, "invalid-request")
    now = datetime.now(UTC)
    later, earlier = (now + timedelta(minutes=5)).isoformat(), (now - timedelta(days=2)).isoformat()
    late = {"code": CODE, "collected_at": later}
    api.problem(api.post(path, late, shop.partner), 422, "collected-in-the-future")
    early = {"code": CODE, "collected_at": earlier}
    api.problem(api.post(path, early, shop.partner), 422, "collected-outside-reservation")
    api.wrote(path, {"code": CODE, "collected_at": datetime.now(UTC).isoformat()}, shop.partner)


def test_a_counter_without_a_network_checks_codes_by_their_digests_and_hands_its_list_in(api: Api) -> None:
    shop = open_shop(api)
    household = shop.household(100)
    numbers = [shop.reserved(household), shop.reserved(household)]
    seen = api.read("/v1/reservations", shop.partner, status="reserved")["items"]
    assert [row["reservation"] for row in seen] == numbers
    assert all(code_sha256(row["reservation"], CODE) == row["code_sha256"] for row in seen)
    assert household not in repr(seen)
    at = datetime.now(UTC).isoformat()
    rows = [{"reservation": number, "code": CODE, "collected_at": at} for number in numbers]
    bad = [*rows, rows[0] | {"reservation": "RV-NONE"}, rows[1] | {"code": "P" * 16}]
    found = api.problem(
        api.post("/v1/redemptions/collections", {"collections": bad}, shop.partner), 422, "rows-refused"
    )
    assert [(error["row"], error["code"]) for error in found["errors"]] == [
        (2, "unknown-reservation"),
        (3, "reservation-already-collected"),
    ]
    assert balance(api, household) == (100, 60)
    key = uuid4().hex
    first = api.wrote("/v1/redemptions/collections", {"collections": rows}, shop.partner, key)
    assert first["reservations"] == numbers
    assert balance(api, household) == (40, 0)
    head = api.bank.store.head()
    again = api.post("/v1/redemptions/collections", {"collections": rows}, shop.partner, key)
    assert (again.status_code, again.json()) == (200, first | {"repeated": True})
    twice = api.post("/v1/redemptions/collections", {"collections": rows}, shop.partner)
    refused = api.problem(twice, 422, "rows-refused")
    assert {error["code"] for error in refused["errors"]} == {"reservation-already-collected"}
    assert api.bank.store.head() == head


def test_a_repeated_reservation_collection_release_or_reversal_changes_nothing(api: Api) -> None:
    shop = open_shop(api)
    household = shop.household(100)
    member, body = "M-" + household, shop.asked(household)
    path = f"/v1/reservations/{body['reservation']}"
    undone = {"reason": "other", "restocked": True}
    for where, content, by in (
        ("/v1/reservations", body, member),
        (path + "/collection", {"code": CODE}, shop.partner),
        (path + "/reversal", undone, "S1"),
        (f"/v1/reservations/{shop.reserved(household)}/release", None, shop.partner),
    ):
        key = uuid4().hex
        first = api.wrote(where, content, by, key)
        head = api.bank.store.head()
        again = api.post(where, content, by, key)
        assert (again.status_code, again.json()) == (200, first | {"repeated": True})
        assert api.bank.store.head() == head
    assert balance(api, household) == (100, 0)


def test_a_code_is_nowhere_but_in_the_hands_of_those_who_use_it(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    shop = open_shop(api)
    number = shop.reserved(shop.household(100))
    secret = "QRST" * 4
    with caplog.at_level(logging.DEBUG):
        wrong = api.post(f"/v1/reservations/{number}/collection", {"code": secret}, shop.partner)
        invalid = api.post(f"/v1/reservations/{number}/collection", {"code": secret + "1"}, shop.partner)
        right = api.post(f"/v1/reservations/{number}/collection", {"code": CODE}, shop.partner)
    assert (wrong.status_code, invalid.status_code, right.status_code) == (403, 422, 201)
    for code in (secret, CODE):
        assert code not in wrong.text + invalid.text + right.text
        assert code not in all_bytes(api.bank)
    assert secret not in "\n".join(record.getMessage() for record in caplog.records)


def test_a_member_gives_up_and_the_partner_or_staff_release_at_once(api: Api) -> None:
    shop = open_shop(api)
    household = shop.household(100)
    member = "M-" + household
    first, second, third = (shop.reserved(household) for _ in range(3))
    assert api.wrote(f"/v1/reservations/{first}/release", None, member)["facts"] == ["reservation-given-up.v1"]
    assert balance(api, household) == (100, 90)
    api.problem(api.post(f"/v1/reservations/{first}/release", None, member), 409, "reservation-already-ended")
    late = api.post(f"/v1/reservations/{first}/collection", {"code": CODE}, shop.partner)
    api.problem(late, 422, "collected-outside-reservation")
    for number, by in ((first, shop.partner), (second, "S1"), (third, "admin")):
        released = api.wrote(f"/v1/reservations/{number}/release", None, by)
        assert released["facts"] == ["minutes-released.v1", "reservation-released.v1"]
        after = api.post(f"/v1/reservations/{number}/collection", {"code": CODE}, shop.partner)
        api.problem(after, 409, "reservation-already-released")
    assert balance(api, household) == (100, 0)
    undone = {"reason": "other", "restocked": True}
    api.problem(api.post(f"/v1/reservations/{first}/reversal", undone, "S1"), 409, "reward-not-collected")
    stranger = shop.household(1)
    for by in ("M-" + stranger, "S9", open_shop(api).partner):
        api.problem(api.post(f"/v1/reservations/{first}/release", None, by), 404, "unknown-reservation")


def test_nobody_reverses_for_their_own_household(api: Api) -> None:
    shop = open_shop(api)
    household = shop.household(100)
    number = shop.collected(household)
    api.tokens["kin"] = api.new_token("M-" + household, "staff", XINZHU)
    undone = {"reason": "other", "restocked": False}
    api.problem(api.post(f"/v1/reservations/{number}/reversal", undone, "kin"), 403, "redemption-of-own-household")
    api.problem(api.post(f"/v1/reservations/{number}/reversal", undone, "S9"), 404, "unknown-reservation")


# ── Reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reservation_is_read_by_those_whom_it_concerns(api: Api) -> None:
    shop, other = open_shop(api), open_shop(api)
    household, stranger = shop.household(100), shop.household(100)
    number = shop.reserved(household)
    for by in ("M-" + household, shop.partner, "S1", "S0", "auditor", "admin"):
        assert api.read(f"/v1/reservations/{number}", by)["reservation"] == number
        mine = api.read("/v1/reservations", by, limit=500, after=api.bank.store.head() - 2)["items"]
        assert [row["reservation"] for row in mine] == [number]
    for by in ("M-" + stranger, other.partner, "S9"):
        api.problem(api.get(f"/v1/reservations/{number}", by), 404, "unknown-reservation")
        rows = api.read("/v1/reservations", by, limit=500)["items"]
        assert number not in {row["reservation"] for row in rows}
    api.problem(api.get("/v1/reservations", "S1", community="金湖社区"), 403, "outside-community")
    api.problem(api.get("/v1/reservations/RV-NONE", "admin"), 404, "unknown-reservation")


def test_staff_see_what_is_reserved_by_its_end(api: Api) -> None:
    shop = open_shop(api, items=9)
    household = shop.household(300)
    numbers = [shop.reserved(household) for _ in range(4)]
    api.wrote(f"/v1/reservations/{numbers[2]}/release", None, "M-" + household)
    api.wrote(f"/v1/reservations/{numbers[0]}/release", None, shop.partner)
    found: list[str] = []
    after = ""
    while after is not None:
        page = api.read("/v1/open-reservations", "S1", limit=2, after=after)
        found += [row["reservation"] for row in page["items"]]
        after = page["next"]
    ours = [number for number in found if number in numbers]
    assert ours == [numbers[2], numbers[1], numbers[3]]  # given up: it has ended already
    assert len(set(found)) == len(found)
    assert not set(numbers) & {r["reservation"] for r in api.read("/v1/open-reservations", "S9")["items"]}
    api.problem(api.get("/v1/open-reservations", "S9", community=XINZHU), 403, "outside-community")
    api.problem(api.get("/v1/open-reservations", "S1", after="x"), 422, "invalid-request")


# ── What falls due ───────────────────────────────────────────────────────────────────────────────────────────────

OpenBank = Callable[..., Timebank]
ADMIN, COUNTER = Actor("A1", "admin"), Actor("P1", "partner")


class Clock:
    """A writer's clock that a test may set forward."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def given(bank: Timebank, *commands: tuple[Any, Any], actor: Actor = ADMIN, clock: Clock | None = None) -> None:
    """Commands that must be accepted."""
    tickets = [Ticket(decide, command, actor, uuid4().hex) for decide, command in commands]
    Writer(bank.store, bank.zone, clock=clock or Clock()).run(tickets)
    for ticket in tickets:
        assert isinstance(ticket.outcome, Accepted), ticket.outcome


def a_market(bank: Timebank, *, households: int, minutes: int, items: int) -> None:
    """Households H0, H1, … with a member each (V0, …) and so many minutes, and a reward of 50 minutes."""
    given(
        bank,
        (register_community, RegisterCommunity(community=XINZHU)),
        (register_partner, RegisterPartner(partner="P1", name="食堂", community=XINZHU)),
        (offer_reward, OfferReward(reward="RW1", partner="P1", name="午餐", minutes=50, items=items)),
        (fund_pool, FundPool(community=XINZHU, minutes=households * minutes)),
        *((register_household, RegisterHousehold(household=f"H{n}", community=XINZHU)) for n in range(households)),
        *((register_member, RegisterMember(member=f"V{n}", household=f"H{n}")) for n in range(households)),
        *((grant_minutes, GrantMinutes(household=f"H{n}", minutes=minutes, need="other")) for n in range(households)),
    )


def ask(number: int, member: int) -> ReserveReward:
    digest = code_sha256(f"RV{number}", CODE)
    return ReserveReward(reservation=f"RV{number}", reward="RW1", member=f"V{member}", code_sha256=digest)


def test_what_has_ended_is_released_once_it_can_not_be_handed_in_and_running_it_twice_does_nothing(
    open_bank: OpenBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = open_bank(reservation_days=1)
    a_market(bank, households=2, minutes=100, items=3)
    given(bank, (reserve, ask(1, 0)), (reserve, ask(2, 1)), (reserve, ask(3, 1)))
    given(bank, (collect, CollectReward(reservation="RV2", code=CODE)), actor=COUNTER)
    with projecting(bank) as projector:
        projector.catch_up()
    ends_at = known(bank.store, Reservation.of("RV1")).ends_at
    assert ends_at is not None
    clock = Clock()
    monkeypatch.setattr("api.due.Writer", lambda store, zone: Writer(store, zone, clock=clock))
    clock.now = ends_at + COLLECTION_GRACE - timedelta(seconds=1)
    assert run_due(bank, clock.now, RELEASE).done == {"release reservations": 0}
    clock.now = ends_at + COLLECTION_GRACE
    early = Ticket(release, ReleaseReservation(reservation="RV1"), ACTOR, uuid4().hex)
    Writer(bank.store, bank.zone).run([early])  # by the clock of today
    assert isinstance(early.outcome, Refusal)
    reports = [run_due(bank, clock.now, RELEASE) for _ in range(2)]
    assert [report.done["release reservations"] for report in reports] == [2, 0]
    assert known(bank.store, Account.of("household:H0")) == Account("household:H0", 100, 0)
    assert known(bank.store, Account.of("household:H1")) == Account("household:H1", 50, 0)
    assert known(bank.store, Reward.of("RW1")).items_left == 2
    with projecting(bank) as projector:
        projector.catch_up()
    assert run_due(bank, clock.now, RELEASE).done == {"release reservations": 0}


# ── Races ────────────────────────────────────────────────────────────────────────────────────────────────────────


def race(bank: Timebank, contenders: list[tuple[Any, Any, Actor]], *, ids: list[str] | None = None) -> list[Ticket]:
    """Each contender in a thread and a writer of its own, as in as many processes; all begin at once."""
    barrier = threading.Barrier(len(contenders))
    numbers = ids or [uuid4().hex for _ in contenders]

    def run(contender: tuple[Any, Any, Actor], number: str) -> Ticket:
        ticket = Ticket(*contender, number)
        writer = Writer(bank.store, bank.zone)
        barrier.wait(60)
        writer.run([ticket])
        return ticket

    with ThreadPoolExecutor(len(contenders)) as pool:
        return list(pool.map(run, contenders, numbers))


def won(tickets: list[Ticket]) -> list[Ticket]:
    """Those that were accepted; the others were refused by a rule, not by chance."""
    assert all(isinstance(ticket.outcome, Accepted | Refusal) for ticket in tickets)
    return [ticket for ticket in tickets if isinstance(ticket.outcome, Accepted)]


@pytest.mark.parametrize("items", [1, 5])
def test_of_racers_for_the_last_items_as_many_win_as_there_are(open_bank: OpenBank, items: int) -> None:
    bank = open_bank()
    a_market(bank, households=RACERS, minutes=100, items=items)
    tickets = race(bank, [(reserve, ask(n, n), Actor(f"V{n}", "volunteer")) for n in range(RACERS)])
    assert len(won(tickets)) == items
    assert {t.outcome.code for t in tickets if isinstance(t.outcome, Refusal)} == {"reward-out-of-stock"}
    assert known(bank.store, Reward.of("RW1")).items_left == 0


def test_of_racers_for_the_last_minutes_of_one_household_as_many_win_as_they_cover(open_bank: OpenBank) -> None:
    bank = open_bank()
    a_market(bank, households=1, minutes=149, items=100)
    tickets = race(bank, [(reserve, ask(n, 0), Actor("V0", "volunteer")) for n in range(RACERS)])
    assert len(won(tickets)) == 2
    assert {t.outcome.code for t in tickets if isinstance(t.outcome, Refusal)} == {"balance-too-low"}
    assert known(bank.store, Account.of("household:H0")) == Account("household:H0", 149, 100)


def test_of_racers_for_a_months_last_one_as_many_win_as_the_limit_says(open_bank: OpenBank) -> None:
    bank = open_bank()
    a_market(bank, households=1, minutes=5000, items=100)
    limited = OfferReward(reward="RW2", partner="P1", name="午餐", minutes=1, items=100, household_month_max=3)
    given(bank, (offer_reward, limited))
    asked = [ask(n, 0).model_copy(update={"reward": "RW2"}) for n in range(RACERS)]
    tickets = race(bank, [(reserve, command, Actor("V0", "volunteer")) for command in asked])
    assert len(won(tickets)) == 3


def test_of_racers_with_one_code_exactly_one_collects(open_bank: OpenBank) -> None:
    bank = open_bank()
    a_market(bank, households=1, minutes=100, items=9)
    given(bank, (reserve, ask(1, 0)))
    spent = CollectReward(reservation="RV1", code=CODE)
    tickets = race(bank, [(collect, spent, COUNTER)] * RACERS)
    assert len(won(tickets)) == 1
    assert {t.outcome.code for t in tickets if isinstance(t.outcome, Refusal)} == {"reservation-already-collected"}
    assert known(bank.store, Account.of("partner:P1")).balance_minutes == 50
    assert known(bank.store, Account.of("household:H0")) == Account("household:H0", 50, 0)


def test_of_racers_that_collect_and_release_one_reservation_exactly_one_wins(open_bank: OpenBank) -> None:
    bank = open_bank()
    a_market(bank, households=1, minutes=100, items=9)
    given(bank, (reserve, ask(1, 0)))
    spent, let_go = CollectReward(reservation="RV1", code=CODE), ReleaseReservation(reservation="RV1")
    contenders = [(collect, spent, COUNTER), (release, let_go, ADMIN)] * (RACERS // 2)
    (winner,) = won(race(bank, contenders))
    collected = winner.decide is collect
    assert known(bank.store, Reward.of("RW1")).items_left == 9 - collected
    account = known(bank.store, Account.of("household:H0"))
    assert account == Account("household:H0", 100 - 50 * collected, 0)


def test_one_reservation_delivered_by_many_at_once_is_made_once(open_bank: OpenBank) -> None:
    bank = open_bank()
    a_market(bank, households=1, minutes=100, items=9)
    member = Actor("V0", "volunteer")
    tickets = race(bank, [(reserve, ask(1, 0), member)] * RACERS, ids=[uuid4().hex] * RACERS)
    assert len(won(tickets)) == RACERS
    assert sum(not t.outcome.repeated for t in tickets if isinstance(t.outcome, Accepted)) == 1
    assert known(bank.store, Account.of("household:H0")) == Account("household:H0", 100, 50)
    assert known(bank.store, Reward.of("RW1")).items_left == 8


def test_of_racers_that_settle_exactly_one_does_and_what_is_collected_meanwhile_is_settled_next(
    open_bank: OpenBank,
) -> None:
    bank = open_bank()
    a_market(bank, households=1, minutes=1000, items=99)
    given(bank, *((reserve, ask(n, 0)) for n in range(RACERS // 2)))
    settle = (settle_partner, SettlePartner(partner="P1"), ADMIN)
    collecting: list[tuple[Any, Any, Actor]] = [
        (collect, CollectReward(reservation=f"RV{n}", code=CODE), COUNTER) for n in range(RACERS // 2)
    ]
    tickets = won(race(bank, [*collecting, *[settle] * (RACERS // 2)]))
    assert sum(ticket.decide is collect for ticket in tickets) == RACERS // 2
    left = known(bank.store, Account.of("partner:P1")).balance_minutes
    again = race(bank, [settle] * RACERS)
    assert len(won(again)) == (left > 0)
    settled = [ticket.outcome.facts[0] for ticket in (*tickets, *won(again)) if ticket.decide is settle_partner]  # type: ignore[union-attr]
    assert all(isinstance(fact, PartnerSettled) for fact in settled)
    assert sum(fact.minutes for fact in settled) == 50 * (RACERS // 2)
    assert sorted(fact.number for fact in settled) == list(range(1, len(settled) + 1))


def test_racers_over_http_for_the_last_item_are_told_so(open_bank: OpenBank) -> None:
    with serving(open_bank()) as api:
        given(api.bank, (register_community, RegisterCommunity(community=XINZHU)))
        shop = open_shop(api, items=1)
        households = [shop.household(100) for _ in range(RACERS)]
        with ThreadPoolExecutor(RACERS) as pool:
            answers = list(pool.map(lambda h: api.post("/v1/reservations", shop.asked(h), "M-" + h), households))
        assert sorted(answer.status_code for answer in answers) == [201] + [422] * (RACERS - 1)
        assert api.read(f"/v1/rewards/{shop.reward}", "auditor")["items_left"] == 0


def test_reservations_end_at_a_day_that_the_policy_of_that_day_says(open_bank: OpenBank) -> None:
    bank = open_bank(reservation_days=3)
    a_market(bank, households=1, minutes=100, items=9)
    given(bank, (reserve, ask(1, 0)))
    state = known(bank.store, Reservation.of("RV1"))
    assert state.ends_at is not None
    assert state.reserved is not None
    today: date = state.reserved.reserved_at.date()
    assert (state.ends_at.date() - today).days == 4
    assert (state.ends_at.hour, state.ends_at.minute) == (0, 0)
