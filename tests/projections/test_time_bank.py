"""The whole domain at random on PostgreSQL: a real journal and what is folded from it agree with the model."""

import dataclasses
from collections import Counter
from contextlib import ExitStack
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from api.wiring import Timebank
from domain.policy import Policy
from tests.conftest import new_bank
from tests.domain.test_time_bank import Books, TimeBank, live_through_everything
from tests.projections.history import projecting


class TimeBankOnPostgres(TimeBank):
    """The same steps and the same model; balances are recalled from the projection whenever it was folded."""

    def __init__(self, ledgers_url: str) -> None:
        super().__init__()
        self.ledgers_url = ledgers_url
        self.stack = ExitStack()
        self.bank: Any = None

    def open_here(self, policy: Policy) -> Books:
        self.bank = self.stack.enter_context(new_bank(self.ledgers_url, **dataclasses.asdict(policy)))
        return Books(self.bank.store, lambda: self.now)

    def fold(self) -> None:
        with projecting(self.bank) as projector:
            projector.catch_up()

    def teardown(self) -> None:
        with self.stack:
            super().teardown()
            if self.bank is not None and not self.here.interrupted:
                self.fold()
                check_rows(self.bank, self.here)


def check_rows(bank: Timebank, books: Any) -> None:
    """What people are shown is what the model has."""
    with bank.reading() as connection:

        def rows(columns: str, table: str) -> dict[str, Any]:
            found = connection.execute(f"SELECT {columns} FROM {table}").fetchall()
            return {key: values[0] if len(values) == 1 else values for key, *values in found}

        held: Counter[str] = Counter()
        for account, minutes in books.holds.values():
            held[account] += minutes
        accounts = rows("account, balance_minutes, held_minutes", "accounts")
        assert {name: row for name, row in accounts.items() if any(row)} == {
            name: [books.balances[name], held[name]]
            for name in {*books.balances, *held}
            if books.balances[name] or held[name]
        }
        assert rows("record, status", "hours") == books.status
        assert rows("reward, items_left", "rewards") == books.stock
        assert rows("reservation, status", "reservations") == books.reservation_status
        assert rows("request, status", "requests") == books.request_status
        assert rows("visit, status", "visits") == books.visit_status
        assert set(rows("person, given_position", "consents WHERE withdrawn_position IS NULL")) == books.consents
        assert rows("period, service_minutes, corrected_minutes", "disclosures") == {
            period: [fact.service_minutes, fact.corrected_minutes] for period, fact in books.sealed.items()
        }
        assert rows("objection, status", "objections") == {
            number: books.objection_outcomes.get(number, "open") for number in books.objections
        }
        assert rows("finding, status", "findings") == books.finding_status
        inspected = connection.execute("SELECT sample, record FROM sample_records WHERE result IS NOT NULL").fetchall()
        assert set(inspected) == books.inspected
        assert rows("dispute, status", "disputes") == {
            number: books.outcomes.get(number, "open") for number in books.disputes
        }


def test_whatever_is_asked_of_a_real_journal_its_books_and_its_tables_are_the_models(ledgers_url: str) -> None:
    run_state_machine_as_test(
        lambda: TimeBankOnPostgres(ledgers_url),
        settings=settings(
            max_examples=8,
            stateful_step_count=100,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            phases=[Phase.explicit, Phase.generate],
        ),
    )


def test_a_life_with_every_command_reads_the_same_from_the_tables(ledgers_url: str) -> None:
    live_through_everything(TimeBankOnPostgres(ledgers_url))
