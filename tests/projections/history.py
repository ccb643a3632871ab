"""Random histories of a small district, decided by the real rules and recorded in a real journal."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import psycopg
from psycopg.sql import SQL, Identifier

from api.wiring import Timebank
from application.write_loop import Ticket, Writer
from domain.account import FundPool, GrantMinutes, fund_pool, grant_minutes
from domain.community import RegisterCommunity, RegisterGrid, register_community, register_grid
from domain.community_life import (
    MergeCommunities,
    MoveGrid,
    RenameCommunity,
    SplitCommunity,
    merge_communities,
    move_grid,
    rename_community,
    split_community,
)
from domain.decision import BY_TIME, Actor
from domain.desk import KeyPaper, key_paper
from domain.dispute import (
    DecideDispute,
    OpenDispute,
    StateCase,
    WithdrawDispute,
    decide_dispute,
    open_dispute,
    state_case,
    withdraw_dispute,
)
from domain.fact import Fact
from domain.hours import ConfirmHours, LogHours, RejectHours, ReverseHours, confirm, log, reject, reverse
from domain.household import (
    AttestAge,
    EnrolVolunteer,
    RegisterHousehold,
    RegisterMember,
    attest_age,
    enrol_volunteer,
    register_household,
    register_member,
)
from domain.household_life import (
    CloseHousehold,
    LeaveHousehold,
    MergeHouseholds,
    MoveHousehold,
    MoveMember,
    RecordDeath,
    SplitHousehold,
    close_household,
    leave_household,
    merge_households,
    move_household,
    move_member,
    record_death,
    split_household,
)
from domain.partner import (
    OfferReward,
    RegisterPartner,
    RestockReward,
    SettlePartner,
    WithdrawReward,
    offer_reward,
    register_partner,
    restock_reward,
    settle_partner,
    withdraw_reward,
)
from domain.redemption import (
    CollectReward,
    ReleaseReservation,
    ReserveReward,
    ReverseRedemption,
    code_sha256,
    collect,
    release,
    reserve,
    reverse_redemption,
)
from domain.request import ExpireRequest, expire
from domain.sheet import LogSheet, SheetRow, log_sheet
from domain.visit import (
    AttachEvidence,
    CheckIn,
    CheckOut,
    CloseVisit,
    MakeDoorCode,
    MarkOverdue,
    VoidVisit,
    attach_evidence,
    check_in,
    check_out,
    close_visit,
    code_hash,
    make_door_code,
    mark_overdue,
    void_visit,
)
from infrastructure.projector import Projector, schema_of
from tests.controls import CODE, TIME, envelope
from tests.projections.moving import MovingHistory
from tests.projections.recognition_history import RecognitionHistory
from tests.projections.request_history import RequestHistory

ADMIN = Actor("A1", "admin")
CHECKER = Actor("S1", "staff")
LOGGER = Actor("S2", "staff")
JUDGE = Actor("S3", "staff")
COMMUNITIES = ("新竹社区", "𠮷祥社区")
GRIDS = (("第1网格",), ("第1网格", "甲"), ("第1网格", "甲", "2栋"), ("第2网格",))
SERVICES = ("助餐", "助洁", "陪伴聊天")


class History:
    """What happens in one district. ``go`` records some commands in one batch; those that are refused don't happen."""

    def __init__(self, bank: Timebank, seed: int) -> None:
        self.bank = bank
        self.dice = Random(seed)  # noqa: S311 - reproducible
        self.life_dice = Random(seed)  # noqa: S311 - likewise
        self.writer = Writer(bank.store, bank.zone)
        self.visits = 0
        self.visit_dice = Random(seed)  # noqa: S311 - of its own, so that visits change nothing else that happens
        self._moving = MovingHistory(bank, seed)
        self._recognition = RecognitionHistory(bank, seed)
        self.households = 0
        self.records = 0
        self.disputes = 0
        self.reservations = 0
        self.splits = 0
        self.today = datetime.now(bank.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        self.requests = RequestHistory(seed, self.today, SERVICES)
        self.record_commands([(register_community, RegisterCommunity(community=name)) for name in COMMUNITIES])
        self.record_commands(
            [(register_grid, RegisterGrid(community=COMMUNITIES[0], grid=grid)) for grid in GRIDS]
            + [command for _ in range(6) for command in self._household()]
            + [(register_partner, RegisterPartner(partner="P1", name="食堂", community=COMMUNITIES[0]))]
            + [
                (offer_reward, OfferReward(reward=f"RW{n}", partner="P1", name="午餐", minutes=n, items=9))
                for n in (1, 2)
            ]
        )

    def go(self, commands: int) -> int:
        """How many of the commands were accepted."""
        happening = [command for _ in range(commands) for command in self._something()]
        # With dice of their own, so that what else happens stays the same whatever is added here.
        happening += [self._life() for _ in range(commands) if self.life_dice.random() < 0.02]
        happening += [self._place() for _ in range(commands) if self.life_dice.random() < 0.02]
        accepted = self.record_commands(happening)
        accepted += self._recognition.go(self.households)
        return accepted + self._requests(commands) + self._attend() + self._moving.go(self.households)

    def _requests(self, commands: int) -> int:
        """What happens to service requests meanwhile; some of them expire."""
        some = [command for _ in range(commands) for command in self.requests.some(self.households)]
        accepted = self.record_commands(some)
        number = f"Q{self.requests.dice.randint(1, self.requests.requests + 1)}"
        if self.requests.dice.random() < 0.2:
            much_later = Writer(self.bank.store, self.bank.zone, clock=lambda: datetime.now(UTC) + timedelta(days=500))
            much_later.run([expired := Ticket(expire, ExpireRequest(request=number), TIME, uuid4().hex)])
            accepted += not isinstance(expired.outcome, Exception)
        return accepted

    def record_commands(self, commands: list[tuple[Any, Any]]) -> int:
        tickets = [Ticket(decide, command, ACTORS.get(decide, ADMIN), uuid4().hex) for decide, command in commands]
        self.writer.run(tickets)
        return sum(not isinstance(ticket.outcome, Exception) for ticket in tickets)

    def _household(self) -> list[tuple[Any, Any]]:
        self.households += 1
        number = self.households
        community = COMMUNITIES[number % 3 == 0]
        grid = self.dice.choice(GRIDS) if community == COMMUNITIES[0] and number % 2 else ()
        return [
            (register_household, RegisterHousehold(household=f"H{number}", community=community, grid=grid)),
            (register_member, RegisterMember(member=f"V{number}", household=f"H{number}")),
            (enrol_volunteer, EnrolVolunteer(volunteer=f"V{number}")),
            (attest_age, AttestAge(person=f"V{number - number % 2}", age_years_min=60 + number)),
        ]

    def _something(self) -> list[tuple[Any, Any]]:
        dice = self.dice
        record = f"R{dice.randint(max(1, self.records - 15), self.records + 1)}"
        household = f"H{dice.randint(1, self.households)}"
        match dice.choices("lcjvfghdr", (30, 30, 4, 10, 3, 4, 1, 6, 20))[0]:
            case "r":
                return [self._redeem()]
            case "l":
                return [self._log()]
            case "c":
                return [(confirm, ConfirmHours(record=record))]
            case "j":
                return [(reject, RejectHours(record=record, reason="not-served"))]
            case "v":
                return [(reverse, ReverseHours(record=record, reason="duplicate"))]
            case "f":
                return [(fund_pool, FundPool(community=dice.choice(COMMUNITIES), minutes=dice.randint(1, 300)))]
            case "g":
                return [(grant_minutes, GrantMinutes(household=household, minutes=dice.randint(1, 90), need="other"))]
            case "d":
                return self.dispute(record)
            case _:
                return self._household()

    def _attend(self) -> int:
        """Some visits, each with another end, a sheet and a paper, on an early morning of the last weeks."""
        self.visits += 1
        dice, number = self.visit_dice, self.visits
        begin = self.today - timedelta(days=dice.randint(2, 25)) + timedelta(hours=dice.randint(0, 5))
        end = begin + timedelta(minutes=dice.choice((45, 60)))
        home, *people = dice.sample(range(1, self.households + 1), 5)
        code = f"{number:016}"
        made = MakeDoorCode(household=f"H{home}", code_hash=code_hash(code))
        visits = [f"C{number}-{n}" for n in range(4)]
        spent: list[dict[str, Any]] = [{"code": code}, {}, {"recipient_household": f"H{home}"}, {}]
        done = self._decide(begin, ADMIN, (make_door_code, made))
        for visit, person, where in zip(visits, people, spent, strict=True):
            asked = {"visit": visit, "volunteer": f"V{person}", "service": SERVICES[0]} | where
            done += self._decide(begin, ADMIN, (check_in, CheckIn.model_validate(asked)))
        done += self._decide(end, ADMIN, (check_out, CheckOut(visit=visits[0], record=f"R-{visits[0]}")))
        done += self._decide(end, ADMIN, (void_visit, VoidVisit(visit=visits[1], reason="mistake")))
        late = begin + timedelta(hours=20)
        done += self._decide(late, Actor(BY_TIME, "admin"), *((mark_overdue, MarkOverdue(visit=v)) for v in visits[2:]))
        if number % 2:
            closing = CloseVisit(visit=visits[2], ended_at=end, reason="forgotten", record=f"R-{visits[2]}")
            done += self._decide(late, CHECKER, (close_visit, closing))
        files = [AttachEvidence(record=f"R-{visits[n]}", kind="sheet", sha256=f"{number:064x}") for n in (0, 2)]
        done += self._decide(late, CHECKER, *((attach_evidence, file) for file in files))
        rows = [SheetRow(volunteer=f"V{person}") for person in people[:2]]
        times = {"service": SERVICES[1], "started_at": begin - timedelta(hours=1), "ended_at": begin}
        taken = {"sheet": f"SH{number}", "community": COMMUNITIES[0], "leader": rows[0].volunteer, "rows": rows}
        done += self._decide(late, CHECKER, (log_sheet, LogSheet.model_validate(taken | times)))
        line = {"volunteer": f"V{people[3]}", "community": COMMUNITIES[0]} | times
        for keyer, minutes in ((CHECKER, 30), (LOGGER, 30 if number % 2 else 40)):
            rows_keyed = [LogHours.model_validate(line | {"minutes": minutes})]
            keyed = KeyPaper(paper=f"P{number}", community=COMMUNITIES[0], sha256="ab" * 32, rows=tuple(rows_keyed))
            done += self._decide(late, keyer, (key_paper, keyed))
        return done

    def _decide(self, now: datetime, actor: Actor, *commands: tuple[Any, Any]) -> int:
        """What one person does at a time of the past."""
        tickets = [Ticket(decide, command, actor, uuid4().hex) for decide, command in commands]
        Writer(self.bank.store, self.bank.zone, clock=lambda: now).run(tickets)
        return sum(not isinstance(ticket.outcome, Exception) for ticket in tickets)

    def dispute(self, record: str) -> list[tuple[Any, Any]]:
        """One is opened, and something happens in one of the last ones."""
        dice = self.dice
        self.disputes += 1
        ground = dice.choice(["not-served", "not-served", "served"])
        opening = OpenDispute(
            dispute=f"D{self.disputes}", record=record, ground=ground, settled_at=self.today, text="某日"
        )
        number = f"D{dice.randint(max(1, self.disputes - 8), self.disputes)}"
        steps: list[tuple[Any, Any]] = [
            *((state_case, StateCase(dispute=number, ground="other", side=side)) for side in ("earner", "recipient")),
            (decide_dispute, DecideDispute(dispute=number, outcome=dice.choice(["upheld", "dismissed"]))),
            (withdraw_dispute, WithdrawDispute(dispute=number)),
        ]
        return [(open_dispute, opening), *dice.choice([steps[:1], steps[:3], steps[:3], steps[3:]])]

    def _redeem(self) -> tuple[Any, Any]:
        dice = self.dice
        made, reward = (
            f"RV{dice.randint(max(1, self.reservations - 6), self.reservations + 1)}",
            f"RW{dice.randint(1, 2)}",
        )
        match dice.choices("rclvosw", (40, 30, 8, 12, 5, 8, 1))[0]:
            case "r":
                self.reservations += 1
                made, member = f"RV{self.reservations}", f"V{dice.randint(1, self.households)}"
                code = code_sha256(made, CODE)
                return reserve, ReserveReward(reservation=made, reward=reward, member=member, code_sha256=code)
            case "c":
                return collect, CollectReward(reservation=made, code=CODE)
            case "l":
                return release, ReleaseReservation(reservation=made)
            case "v":
                restocked = dice.random() < 0.5
                return reverse_redemption, ReverseRedemption(reservation=made, reason="other", restocked=restocked)
            case "o":
                return restock_reward, RestockReward(reward=reward, items=3)
            case "s":
                return settle_partner, SettlePartner(partner="P1")
            case _:
                return withdraw_reward, WithdrawReward(reward="RW2")

    def _place(self) -> tuple[Any, Any]:
        """Something that becomes of a community or a grid. The two communities themselves stay."""
        dice, effective_on = self.life_dice, self.today.date() + timedelta(days=self.life_dice.randint(0, 40))
        new, grid = f"新社区{dice.randint(1, 6)}", dice.choice(GRIDS)
        match dice.choices("nrmgs", (3, 1, 2, 3, 2))[0]:
            case "n":
                return register_community, RegisterCommunity(community=new)
            case "r":
                return rename_community, RenameCommunity(community=new, name=new + "（新）", effective_on=effective_on)
            case "m":
                into = dice.choice([*COMMUNITIES, "新社区1"])
                return merge_communities, MergeCommunities(community=new, into=into, effective_on=effective_on)
            case "g":
                return move_grid, MoveGrid(
                    community=COMMUNITIES[0],
                    grid=grid,
                    into_community=dice.choice([COMMUNITIES[0], new]),
                    into_grid=dice.choice(GRIDS),
                    effective_on=effective_on,
                )
            case _:
                return split_community, SplitCommunity(
                    community=COMMUNITIES[0],
                    into=new,
                    grids=(grid[0],),
                    minutes=dice.choice([0, 30]),
                    effective_on=effective_on,
                )

    def _life(self) -> tuple[Any, Any]:
        """Something that befalls a household or one of its people."""
        dice = self.life_dice
        member = f"V{dice.randint(1, self.households)}"
        household, other = (f"H{dice.randint(1, self.households)}" for _ in range(2))
        match dice.choices("lmdMsgcr", (2, 4, 1, 4, 4, 2, 1, 4))[0]:
            case "l":
                return leave_household, LeaveHousehold(member=member)
            case "m":
                return move_member, MoveMember(member=member, into=other)
            case "d":
                return record_death, RecordDeath(member=member)
            case "M":
                moved_on, community = self.today.date(), dice.choice(COMMUNITIES)
                return move_household, MoveHousehold(household=household, community=community, moved_on=moved_on)
            case "s":
                self.splits += 1
                return split_household, SplitHousehold(
                    household=household, into=f"N{self.splits}", members=(member,), minutes=dice.randint(0, 60)
                )
            case "g":
                return merge_households, MergeHouseholds(household=household, into=other)
            case "c":
                return close_household, CloseHousehold(household=household, cause="other")
            case _:
                return register_member, RegisterMember(member=member, household=household)

    def _log(self) -> tuple[Any, Any]:
        dice = self.dice
        self.records += 1
        started_at = self.today - timedelta(days=dice.randint(1, 120), minutes=-15 * dice.randint(28, 80))
        return log, LogHours(
            record=f"R{self.records}",
            volunteer=f"V{dice.randint(1, self.households)}",
            recipient_household=dice.choice([None, f"H{dice.randint(1, self.households)}"]),
            service=dice.choice(SERVICES),
            started_at=started_at,
            ended_at=started_at + timedelta(minutes=15 * dice.randint(1, 8)),
        )


ACTORS: dict[Any, Actor] = {log: LOGGER, confirm: CHECKER, decide_dispute: JUDGE}
POLICIES: dict[str, dict[str, Any]] = {
    "issuance pays, what is above the cap goes to the pool": {"balance_minutes_max": 240},
    "the recipient pays": {
        "payer": "recipient",
        "balance_minutes_min": -600,
        "balance_minutes_max": None,
        "request_hold": True,
    },
    "the pool pays, what is above the cap is an honour": {
        "payer": "pool",
        "balance_minutes_max": 200,
        "above_balance_max": "honour",
    },
}
for policy in POLICIES.values():
    policy["log_days_back_max"] = 400
    policy |= {"transfer": "anyone", "starting_grant_minutes": 30, "expiry_months": 1, "expiry_notice_days": 1}


@contextmanager
def projecting(bank: Timebank) -> Iterator[Projector]:
    """A projector of its own, with its tables made."""
    projector = bank.projector()
    try:
        projector.prepare()
        yield projector
    finally:
        projector.close()


def rows(bank: Timebank) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that the projections hold: every row of every table, checkpoint and all."""
    with psycopg.connect(bank.address) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        schema = schema_of(bank.name)
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)).fetchall()
        return {
            table: sorted(connection.execute(SQL("SELECT * FROM {}").format(Identifier(schema, table))), key=repr)
            for (table,) in sorted(tables)
        }


def record(bank: Timebank, *facts: Fact) -> int:
    """Facts that are true whatever the rules say, folded at once; returns the last one's position."""
    head = bank.store.head()
    bank.store.append([envelope(fact) for fact in facts], [], [], head)
    with projecting(bank) as projector:
        return projector.catch_up()
