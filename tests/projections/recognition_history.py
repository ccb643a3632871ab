"""Volunteers recognised and certified at random: what `History` has happen beside all else."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from uuid import uuid4

from api.wiring import Timebank
from application.write_loop import Ticket, Writer
from domain.certificate import IssueCertificate, RevokeCertificate, count_service, issue_certificate, revoke_certificate
from domain.decision import BY_TIME, Actor
from domain.recognition import (
    AwardHonour,
    RecordCommendation,
    RecordTraining,
    SettleStars,
    WithdrawRecognition,
    award_honour,
    record_commendation,
    record_training,
    settle_stars,
    withdraw_recognition,
)

ADMIN, TIME = Actor("A1", "admin"), Actor(BY_TIME, "admin")


class RecognitionHistory:
    """Has dice of its own, so that nothing else that happens depends on it."""

    def __init__(self, bank: Timebank, seed: int) -> None:
        self._bank = bank
        self._dice = Random(seed)  # noqa: S311 - reproducible
        self._writer = Writer(bank.store, bank.zone)
        self._entries = 0

    def go(self, households: int) -> int:
        """A handful of commands about volunteers numbered up to so many; how many were accepted."""
        dice, day = self._dice, datetime.now(UTC).date() - timedelta(days=3)
        who = f"V{dice.randint(1, households)}"
        self._entries += 3
        entry = [f"N{self._entries - n}" for n in range(3)]
        position = self._bank.store.head()
        minutes = dice.choice([0, 6_000, 20_000])
        year = date(day.year, 1, 1)
        commands = [
            (award_honour, AwardHonour(recognition=entry[0], volunteer=who, title="标兵", awarded_on=day)),
            (
                record_training,
                RecordTraining(recognition=entry[1], volunteer=who, subject="first-aid", minutes=90, trained_on=day),
            ),
            (
                record_commendation,
                RecordCommendation(
                    recognition=entry[2], volunteer=who, title="表扬信", organisation="街道", commended_on=day
                ),
            ),
            (
                withdraw_recognition,
                WithdrawRecognition(recognition=f"N{dice.randint(1, self._entries)}", reason="mistake"),
            ),
            (
                settle_stars,
                SettleStars(volunteer=f"V{dice.randint(1, 3)}", service_minutes=minutes, counted_position=position),
            ),
            (
                issue_certificate,
                IssueCertificate(
                    volunteer=who,
                    since=year,
                    until=day if day >= year else year,
                    in_charge="A2",
                    contact="0771-0",
                    counted=count_service(position, [(f"R{position}", "助餐", 60)]),
                    code_sha256="ab" * 32,
                    kept_sha256="cd" * 32,
                ),
            ),
            (
                revoke_certificate,
                RevokeCertificate(
                    certificate=f"{datetime.now(self._bank.zone).year}-{dice.randint(1, self._entries):06}",
                    reason="other",
                ),
            ),
        ]
        tickets = [
            Ticket(decide, command, TIME if decide is settle_stars else ADMIN, uuid4().hex)  # type: ignore[arg-type]
            for decide, command in commands
        ]
        self._writer.run(tickets)
        return sum(not isinstance(ticket.outcome, Exception) for ticket in tickets)
