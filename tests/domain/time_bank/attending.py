"""Service with evidence: visits, what is attached, group sheets, and paper that two people key."""

from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.decision import Actor, Reading
from domain.desk import KeyPaper, PaperAgreed, PaperKeyed, key_paper
from domain.evidence import EvidenceAttached
from domain.hours import MINUTE, LogHours
from domain.sheet import LogSheet, SheetLogged, SheetRow, log_sheet
from domain.visit import (
    AttachEvidence,
    CheckedIn,
    CheckedOut,
    CheckIn,
    CheckOut,
    CloseVisit,
    DoorCodeMade,
    MakeDoorCode,
    MarkOverdue,
    Visit,
    VisitClosed,
    VisitOverdue,
    VisitVoided,
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
from tests.controls import TIME
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.hours import RANKS, SPANS, HoursModel, HoursRules
from tests.domain.time_bank.leading import ADMIN, BY_TIME, INDEX, JUDGE, OTHER_ADMIN, RIGHT, STAFF, member, pick


class AttendingModel(HoursModel):
    def __init__(self) -> None:
        super().__init__()
        self.doors: dict[str, DoorCodeMade] = {}
        self.spent_doors: set[str] = set()
        self.visits: dict[str, CheckedIn] = {}
        self.visit_status: dict[str, str] = {}
        self.attached: set[tuple[str, str]] = set()
        self.sheets: set[str] = set()
        self.papers: dict[str, list[PaperKeyed]] = {}
        self.agreed_papers: set[str] = set()

    @follows(DoorCodeMade)
    def _door_code_made(self, fact: DoorCodeMade, told: Told) -> None:
        assert fact.code_hash not in self.doors
        assert self.is_open(fact.household)
        assert told.actor.role != "volunteer" or self.home[told.actor.id] == fact.household
        self.doors[fact.code_hash] = fact

    def _door_spent(self, code: str | None, volunteer: str, told: Told, household: str | None) -> None:
        """A code is spent once, in time, at its own door, and by nobody of whoever made it."""
        if code is None:
            return
        assert code not in self.spent_doors
        made = self.doors[code]
        assert self.stands_for(made.household) == self.stands_for(household)
        assert told.now <= made.valid_until
        assert made.made_by != volunteer
        assert self.home.get(made.made_by) is None or self.home[made.made_by] != self.home[volunteer]
        self.spent_doors.add(code)

    @follows(CheckedIn)
    def _checked_in(self, fact: CheckedIn, told: Told) -> None:
        assert fact.visit not in self.visits
        assert fact.volunteer in self.volunteers
        assert self.home[fact.volunteer] is not None
        assert self.home[fact.volunteer] != fact.recipient_household
        assert fact.started_at <= told.now < fact.started_at + MINUTE
        assert told.actor.role != "volunteer" or told.actor.id == fact.volunteer
        self._door_spent(fact.code_hash, fact.volunteer, told, fact.recipient_household)
        assert (fact.evidence == "checked-in") == (fact.code_hash is not None)
        for number, other in self.visits.items():
            if other.volunteer == fact.volunteer and self.visit_status[number] == "open":
                assert told.now > self._ends(other)  # still open, though its time is over
        self.visits[fact.visit], self.visit_status[fact.visit] = fact, "open"

    def _ends(self, visit: CheckedIn) -> datetime:
        return visit.started_at + self.in_force(visit.started_at.date()).check_in_minutes_max * MINUTE

    @follows(CheckedOut)
    def _checked_out(self, fact: CheckedOut, told: Told) -> None:
        begun = self.visits[fact.visit]
        assert self.visit_status[fact.visit] == "open"
        assert begun.started_at < fact.ended_at <= told.now
        assert fact.ended_at <= self._ends(begun)
        self._door_spent(fact.code_hash, fact.volunteer, told, begun.recipient_household)
        self.visit_status[fact.visit] = "logged"

    @follows(VisitOverdue)
    def _overdue(self, fact: VisitOverdue, told: Told) -> None:
        assert self.visit_status[fact.visit] == "open"
        assert told.actor == TIME
        assert told.now > self._ends(self.visits[fact.visit])
        self.visit_status[fact.visit] = "overdue"

    @follows(VisitClosed)
    def _visit_closed(self, fact: VisitClosed, told: Told) -> None:
        assert self.visit_status[fact.visit] in ("open", "overdue")
        assert self.visits[fact.visit].started_at < fact.ended_at <= self._ends(self.visits[fact.visit])
        assert fact.ended_at <= told.now
        self.visit_status[fact.visit] = "logged"

    @follows(VisitVoided)
    def _voided(self, fact: VisitVoided, _: Told) -> None:
        assert self.visit_status[fact.visit] in ("open", "overdue")
        self.visit_status[fact.visit] = "voided"

    @follows(EvidenceAttached)
    def _attached(self, fact: EvidenceAttached, told: Told) -> None:
        """A grade never goes down, and only the staff's paper lifts it."""
        assert (fact.record, fact.sha256) not in self.attached
        logged, before = self.records[fact.record], self.grades[fact.record]
        if RANKS.index(fact.evidence) > RANKS.index(before) and fact.evidence != "recipient":
            assert told.actor.role != "volunteer"
            assert fact.kind == "sheet"
            assert self.home.get(told.actor.id, "") != logged.household
        self.attached.add((fact.record, fact.sha256))
        self.grades[fact.record] = max(before, fact.evidence, key=RANKS.index)

    @follows(SheetLogged)
    def _sheet_logged(self, fact: SheetLogged, told: Told) -> None:
        assert fact.sheet not in self.sheets
        assert told.actor.role != "volunteer" or told.actor.id == fact.leader
        self.sheets.add(fact.sheet)

    @follows(PaperKeyed)
    def _paper_keyed(self, fact: PaperKeyed, _: Told) -> None:
        assert fact.paper not in self.agreed_papers
        self._not_own(fact.keyed_by, {row.volunteer for row in fact.rows})
        self.papers.setdefault(fact.paper, []).append(fact)

    @follows(PaperAgreed)
    def _paper_agreed(self, fact: PaperAgreed, told: Told) -> None:
        """Two people keyed the same, and neither of them their own hours."""
        assert fact.paper not in self.agreed_papers
        assert fact.keyed_by == told.actor.id != fact.also_keyed_by
        (other,) = [keyed for keyed in self.papers[fact.paper] if keyed.keyed_by == fact.also_keyed_by][-1:]
        assert [row.volunteer for row in other.rows] == [row.volunteer for row in told.command.rows]
        assert other.sha256 == fact.sha256 == told.command.sha256
        self._not_own(fact.keyed_by, {row.volunteer for row in other.rows})
        self.agreed_papers.add(fact.paper)

    def _not_own(self, keyer: str, volunteers: set[str]) -> None:
        assert keyer not in volunteers
        home = self.home.get(keyer)
        assert home is None or home not in {self.home.get(volunteer) for volunteer in volunteers}

    def standings(self) -> dict[Reading[Any], str]:
        visits = {Visit.of(number): status for number, status in self.visit_status.items()}
        return super().standings() | visits

    def check(self) -> None:
        super().check()
        earned = {fact.record for fact in self.facts if isinstance(fact, CheckedOut | VisitClosed)}
        assert len(earned) == sum(status == "logged" for status in self.visit_status.values())
        assert earned <= self.records.keys()  # nothing earns but what was logged


class AttendingRules(HoursRules):
    def visit(self, index: int) -> str:
        unended = [number for number, status in self.here.visit_status.items() if status in ("open", "overdue")]
        return pick(unended if unended and index % 8 != 7 else list(self.here.visits) or ["C0"], index)

    def code(self) -> str:
        return f"{len(self.here.doors):016}"

    @rule(household=INDEX, by_member=st.booleans(), minutes=st.sampled_from([5, 720, 2000]), actor=STAFF)
    def make_door_code(self, household: int, by_member: bool, minutes: int, actor: Actor) -> None:
        name = self.household(household)
        if by_member and self.here.members(name):
            actor = member(self.here.members(name)[0])
        command = MakeDoorCode(household=name, code_hash=code_hash(self.code()), valid_minutes=minutes)
        self.here.send(make_door_code, command, actor)

    @rule(volunteer=INDEX, where=INDEX, code=st.sampled_from([None, None, 0, 0, 1]), alone=st.booleans(), actor=STAFF)
    def check_in(self, volunteer: int, where: int, code: int | None, alone: bool, actor: Actor) -> None:
        """With the newest door code there is, or at a household, or for the community at large."""
        person, doors = self.somebody(volunteer), len(self.here.doors)
        place: dict[str, Any] = {} if where % 4 == 3 else {"recipient_household": self.household(where)}
        if code is not None and doors > code:
            place = {"code": f"{doors - 1 - code:016}"}
        command = CheckIn(visit=f"C{len(self.here.visits)}", volunteer=person, service="助餐", **place)
        self.here.send(check_in, command, member(person) if alone else actor)

    @precondition(lambda self: self.here.visits)
    @rule(visit=INDEX, minutes=st.sampled_from([60, 20, 130, 0, 800]), new_code=st.booleans(), alone=RIGHT, actor=STAFF)
    def check_out(self, visit: int, minutes: int, new_code: bool, alone: bool, actor: Actor) -> None:
        self.wait(minutes=minutes)
        number = self.visit(visit)
        begun, code = self.here.visits[number], None
        if new_code and begun.recipient_household is not None:
            code = self.code()
            made = MakeDoorCode(household=begun.recipient_household, code_hash=code_hash(code))
            self.here.send(make_door_code, made, ADMIN)
        command = CheckOut(visit=number, code=code, record=self.new_record())
        self.here.send(check_out, command, member(begun.volunteer) if alone else actor)

    @precondition(lambda self: self.here.visits)
    @rule(visit=INDEX, minutes=st.sampled_from([15, 60, 1400]), voids=st.booleans(), actor=STAFF)
    def end_visit(self, visit: int, minutes: int, voids: bool, actor: Actor) -> None:
        number = self.visit(visit)
        if voids:
            self.here.send(void_visit, VoidVisit(visit=number, reason="mistake"), actor)
            return
        ended_at = self.here.visits[number].started_at + timedelta(minutes=minutes)
        command = CloseVisit(visit=number, ended_at=ended_at, reason="forgotten", record=self.new_record())
        self.here.send(close_visit, command, actor)

    @precondition(lambda self: "open" in self.here.visit_status.values())
    @rule(actor=BY_TIME)
    def mark_overdue(self, actor: Actor) -> None:
        self.here.together(*((mark_overdue, MarkOverdue(visit=number), actor) for number in self.here.visits))

    @precondition(lambda self: self.here.status)
    @rule(record=INDEX, kind=st.sampled_from(["photo", "sheet"]), fresh=RIGHT, actor=STAFF)
    def attach_evidence(self, record: int, kind: Any, fresh: bool, actor: Actor) -> None:
        sha256 = f"{len(self.here.facts) if fresh else 0:064x}"
        command = AttachEvidence(record=self.record(record, "logged", "confirmed"), kind=kind, sha256=sha256)
        self.here.send(attach_evidence, command, actor)

    @rule(
        people=st.lists(INDEX, min_size=1, max_size=3),
        place=st.tuples(INDEX, INDEX | st.none()),
        span=SPANS,
        group=INDEX | st.none(),
        by_leader=st.booleans(),
        actor=STAFF,
    )
    def log_sheet(self, people: list[int], place: Any, span: Any, group: Any, by_leader: bool, actor: Actor) -> None:
        first, volunteers = len(self.here.status), [self.somebody(index) for index in people]
        groups = list(self.here.groups)
        command = LogSheet(
            sheet=f"SH{len(self.here.sheets)}",
            community=self.community(place[0]),
            recipient_household=None if place[1] is None else self.household(place[1]),
            service="社区清洁",
            started_at=self.now + span[0],
            ended_at=self.now + span[0] + span[1],
            leader=volunteers[0],
            group=pick(groups, group) if groups and group is not None else None,
            rows=tuple(SheetRow(volunteer=p, record=f"R{first + n}") for n, p in enumerate(volunteers)),
        )
        self.here.send(log_sheet, command, member(volunteers[0]) if by_leader else actor)

    @rule(volunteer=INDEX, span=SPANS, alike=RIGHT, keyers=st.permutations([ADMIN, OTHER_ADMIN, JUDGE]), actor=STAFF)
    def key_paper(self, volunteer: int, span: Any, alike: bool, keyers: Any, actor: Actor) -> None:
        """By one person and then another; where they differ, by a third, who agrees with the first."""
        paper, record = f"PA{len(self.here.papers)}", self.new_record()
        community = self.community(0)
        line: LogHours = self.claim(record, self.somebody(volunteer), None, span)
        other = line if alike else line.model_copy(update={"service": "助洁"})
        for keyer, row in zip((keyers[0], keyers[1] if alike else actor, keyers[2]), (line, other, line), strict=True):
            command = KeyPaper(paper=paper, community=community, sha256="ab" * 32, rows=(row,))
            self.here.send(key_paper, command, keyer)
