"""What happens to service requests in a random history: commands for the real rules to accept or refuse."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, get_args

from domain.hours import ConfirmHours, RejectHours, confirm, reject
from domain.request import (
    AcceptOffer,
    AskForService,
    CancelRequest,
    FulfilRequest,
    MakeOffer,
    RequestNeed,
    RescheduleRequest,
    WithdrawOffer,
    accept,
    ask,
    cancel,
    fulfil,
    offer,
    reschedule,
    withdraw,
)

NEEDS = get_args(RequestNeed)


class RequestHistory:
    """Has dice of its own, so that what else happens in a history of one seed stays as it is."""

    def __init__(self, seed: int, today: datetime, services: Sequence[str]) -> None:
        self.dice = Random(seed)  # noqa: S311 - reproducible
        self.requests = 0
        self._today = today
        self._services = services

    def some(self, households: int) -> list[tuple[Any, Any]]:
        """One command, and often what leads up to it."""
        dice = self.dice
        number = f"Q{dice.randint(max(1, self.requests - 4), self.requests + 1)}"
        volunteer = f"V{dice.randint(1, households)}"
        match dice.choices("aocwrfsx", (6, 12, 10, 3, 2, 6, 3, 1))[0]:
            case "a":
                return [self._ask(households)]
            case "o":
                return [(offer, MakeOffer(request=number, volunteer=volunteer))]
            case "c":
                return [
                    (offer, MakeOffer(request=number, volunteer=volunteer)),
                    (accept, AcceptOffer(request=number, volunteer=volunteer)),
                ]
            case "w":
                before = [(accept, AcceptOffer(request=number, volunteer=volunteer))] if dice.random() < 0.5 else []
                return [
                    (offer, MakeOffer(request=number, volunteer=volunteer)),
                    *before,
                    (withdraw, WithdrawOffer(request=number, volunteer=volunteer)),
                ]
            case "r":
                return [(reschedule, RescheduleRequest(request=number, **self._window()))]
            case "f":
                started_at = self._today - timedelta(hours=dice.randint(1, 48))
                ended_at = started_at + timedelta(minutes=45)
                times = {"started_at": started_at, "ended_at": ended_at}
                return [(fulfil, FulfilRequest(request=number, record=f"R-{number}", **times))]
            case "s":
                settled: list[tuple[Any, Any]] = [(confirm, ConfirmHours(record=f"R-{number}"))]
                return settled if dice.random() < 0.8 else [(reject, RejectHours(record=f"R-{number}", reason="other"))]
            case _:
                return [(cancel, CancelRequest(request=number))]

    def _ask(self, households: int) -> tuple[Any, Any]:
        self.requests += 1
        return ask, AskForService(
            request=f"Q{self.requests}",
            household=f"H{self.dice.randint(1, households)}",
            service=self.dice.choice(self._services),
            estimated_minutes=self.dice.randint(15, 120),
            needs=tuple(self.dice.sample(NEEDS, self.dice.randint(0, 2))),
            **self._window(),
        )

    def _window(self) -> dict[str, Any]:
        return {
            "earliest_at": self._today - timedelta(days=self.dice.randint(2, 4)),
            "latest_at": self._today + timedelta(days=self.dice.randint(2, 40)),
        }
