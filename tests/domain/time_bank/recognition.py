"""Stars, honours, trainings, commendations, and certificates of what was served."""

from datetime import date, timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from domain.certificate import (
    CertificateIssued,
    CertificateRevoked,
    IssueCertificate,
    RevokeCertificate,
    code_sha256,
    count_service,
    issue_certificate,
    revoke_certificate,
)
from domain.decision import Actor
from domain.recognition import (
    AwardHonour,
    CommendationRecorded,
    HonourAwarded,
    RecognitionWithdrawn,
    RecordCommendation,
    RecordTraining,
    SettleStars,
    StarAwarded,
    StarWithdrawn,
    TrainingRecorded,
    WithdrawRecognition,
    award_honour,
    record_commendation,
    record_training,
    settle_stars,
    withdraw_recognition,
)
from tests.controls import TIME
from tests.domain.time_bank.books import Told, follows
from tests.domain.time_bank.hours import HoursModel, HoursRules
from tests.domain.time_bank.leading import BY_TIME, INDEX, STAFF, pick


class RecognitionModel(HoursModel):
    def __init__(self) -> None:
        super().__init__()
        self.stars: dict[tuple[str, int], int] = {}
        """What each star that a volunteer holds was awarded for."""
        self.entries: dict[str, HonourAwarded | TrainingRecorded | CommendationRecorded] = {}
        self.withdrawn_entries: set[str] = set()
        self.certificates: dict[str, CertificateIssued] = {}
        self.revoked_certificates: set[str] = set()

    def served(self, volunteer: str) -> list[tuple[str, str, int]]:
        """The records of confirmed and unreversed service, with their services and minutes."""
        return [
            (record, self.records[record].service, self.records[record].service_minutes)
            for record, status in self.status.items()
            if status == "confirmed" and self.records[record].volunteer == volunteer
        ]

    @follows(StarAwarded)
    def _star_awarded(self, fact: StarAwarded, told: Told) -> None:
        assert told.actor == TIME
        assert fact.volunteer in self.volunteers
        assert (fact.volunteer, fact.star) not in self.stars
        assert fact.service_minutes >= fact.threshold_minutes
        assert told.policy is not None
        assert fact.threshold_minutes == told.policy.star_minutes[fact.star - 1]
        self.stars[fact.volunteer, fact.star] = fact.threshold_minutes

    @follows(StarWithdrawn)
    def _star_withdrawn(self, fact: StarWithdrawn, told: Told) -> None:
        """Only for hours that are fewer now than what it was awarded for."""
        assert told.actor == TIME
        assert fact.service_minutes < self.stars.pop((fact.volunteer, fact.star))

    @follows(HonourAwarded, TrainingRecorded, CommendationRecorded)
    def _entry(self, fact: HonourAwarded | TrainingRecorded | CommendationRecorded, told: Told) -> None:
        assert fact.recognition not in self.entries
        self._of_no_own(fact.volunteer, told.actor.id)
        self.entries[fact.recognition] = fact

    @follows(RecognitionWithdrawn)
    def _entry_withdrawn(self, fact: RecognitionWithdrawn, told: Told) -> None:
        assert fact.recognition not in self.withdrawn_entries
        self._of_no_own(self.entries[fact.recognition].volunteer, told.actor.id)
        self.withdrawn_entries.add(fact.recognition)

    @follows(CertificateIssued)
    def _issued(self, fact: CertificateIssued, told: Told) -> None:
        """Numbered without gaps, by nobody of the volunteer's household, of what was served."""
        assert fact.sequence == len(self.certificates) + 1
        assert fact.certificate not in self.certificates
        assert fact.until <= told.today
        self._of_no_own(fact.volunteer, told.actor.id, fact.in_charge)
        self._may_certify(told)
        assert fact.service_minutes == sum(minutes for *_, minutes in self.served(fact.volunteer))
        assert told.policy is not None
        assert fact.service_minutes >= told.policy.certificate_minutes_min
        self.certificates[fact.certificate] = fact

    @follows(CertificateRevoked)
    def _certificate_revoked(self, fact: CertificateRevoked, told: Told) -> None:
        assert fact.certificate not in self.revoked_certificates
        self._of_no_own(self.certificates[fact.certificate].volunteer, told.actor.id)
        self._may_certify(told)
        self.revoked_certificates.add(fact.certificate)

    def _may_certify(self, told: Told) -> None:
        assert told.policy is not None
        assert told.policy.certificate_issuer == "staff" or told.actor.role == "admin"

    def _of_no_own(self, volunteer: str, *people: str) -> None:
        home = self.home[volunteer]
        for person in people:
            assert person != volunteer
            assert home is None or self.home.get(person) != home


class RecognitionRules(HoursRules):
    @precondition(lambda self: self.here.volunteers)
    @rule(actor=BY_TIME)
    def settle_stars(self, actor: Actor) -> None:
        """Of all, on what was counted just now; who has died may still lose what was false."""
        position = self.here.store.head()
        everybody = sorted(self.here.volunteers | {volunteer for volunteer, _ in self.here.stars})
        commands = [
            SettleStars(
                volunteer=volunteer,
                service_minutes=sum(minutes for *_, minutes in self.here.served(volunteer)),
                counted_position=position,
            )
            for volunteer in everybody
        ]
        self.here.together(*((settle_stars, command, actor) for command in commands))

    @rule(person=INDEX, how=st.sampled_from("htc"), days=st.sampled_from([0, 0, 0, 1]), actor=STAFF)
    def recognise(self, person: int, how: str, days: int, actor: Actor) -> None:
        number, volunteer = f"N{len(self.here.entries)}", self.somebody(person)
        on = self.now.date() + timedelta(days=days)
        match how:
            case "h":
                honour = AwardHonour(recognition=number, volunteer=volunteer, title="优秀志愿者", awarded_on=on)
                self.here.send(award_honour, honour, actor)
            case "t":
                training = RecordTraining(
                    recognition=number, volunteer=volunteer, subject="first-aid", minutes=60, trained_on=on
                )
                self.here.send(record_training, training, actor)
            case _:
                commendation = RecordCommendation(
                    recognition=number, volunteer=volunteer, title="表扬信", organisation="街道办事处", commended_on=on
                )
                self.here.send(record_commendation, commendation, actor)

    @precondition(lambda self: self.here.entries)
    @rule(entry=INDEX, actor=STAFF)
    def withdraw_recognition(self, entry: int, actor: Actor) -> None:
        command = WithdrawRecognition(recognition=pick(list(self.here.entries), entry), reason="mistake")
        self.here.send(withdraw_recognition, command, actor)

    @rule(person=INDEX, in_charge=st.sampled_from(["S5", "S5", "S5", "P1"]), actor=STAFF)
    def issue_certificate(self, person: int, in_charge: str, actor: Actor) -> None:
        """Of all that somebody ever served; mostly of one who did."""
        served = list(dict.fromkeys(self.here.records[record].volunteer for record in self.here.settled_at))
        volunteer = pick(served, person) if served else self.somebody(person)
        command = IssueCertificate(
            volunteer=volunteer,
            since=date(2020, 1, 1),
            until=self.now.date(),
            in_charge=in_charge,
            contact="0771-0000000",
            counted=count_service(self.here.store.head(), self.here.served(volunteer)),
            code_sha256=code_sha256(f"{len(self.here.certificates):016}"),
            kept_sha256="cd" * 32,
        )
        self.here.send(issue_certificate, command, actor)

    @precondition(lambda self: self.here.certificates)
    @rule(certificate=INDEX, reason=st.sampled_from(["mistake", "records-reversed"]), actor=STAFF)
    def revoke_certificate(self, certificate: int, reason: Any, actor: Actor) -> None:
        number = pick(list(self.here.certificates), certificate)
        self.here.send(revoke_certificate, RevokeCertificate(certificate=number, reason=reason), actor)
