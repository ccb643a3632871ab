"""The random time bank for as long as there is time, in memory and on PostgreSQL in turn, each time from another seed.

TIMEBANK_TORTURE_SECONDS says how long; `make torture` runs the long form. A seed that found something is named in the
failure's notes, and TIMEBANK_TORTURE_SEED begins with it.
"""

import os
import time
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.domain.test_time_bank import TimeBank
from tests.projections.test_time_bank import TimeBankOnPostgres

SECONDS = float(os.environ.get("TIMEBANK_TORTURE_SECONDS") or 1)
FIRST_SEED = int(os.environ.get("TIMEBANK_TORTURE_SEED") or 1)


def test_whatever_the_seed_the_books_agree(ledgers_url: str) -> None:
    def on_postgres() -> TimeBankOnPostgres:
        return TimeBankOnPostgres(ledgers_url)

    ends_at, number = time.monotonic() + SECONDS, FIRST_SEED
    while number == FIRST_SEED or time.monotonic() < ends_at:
        for machine, examples in ((TimeBank, 5), (on_postgres, 1)):
            lead(machine, examples, number)
        number += 1


def lead(machine: Any, examples: int, number: int) -> None:
    def seeded() -> Any:
        return machine()

    try:
        run_state_machine_as_test(
            seed(number)(seeded),
            settings=settings(
                max_examples=examples,
                stateful_step_count=100,
                deadline=None,
                database=None,
                derandomize=False,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, Phase.shrink],
            ),
        )
    except BaseException as error:
        error.add_note(f"TIMEBANK_TORTURE_SEED={number}")
        raise
