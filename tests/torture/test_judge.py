"""Go's packages and sigstore judge the log of the whole sample district, in the long form.

The short form judges that of a small one. TIMEBANK_TORTURE_SECONDS says which; CI and `make torture` run the long form.
"""

import os
from pathlib import Path

from api.wiring import timebank
from application.hours_import import HoursImport
from application.sample import write_sample
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy
from tests.conftest import FIRST_DAY, settings_for
from tests.judge.log_files import PROOFS, written
from tests.judge.test_judge import accepted, judge, needs_go
from tests.judge.test_sigstore import agrees

__all__ = ["judge"]  # a fixture

WHOLE = {"households_served": 1_898, "hours": 430_000}
SHORT = {"households_served": 40, "hours": 900}


@needs_go
def test_go_and_sigstore_accept_a_thousand_proofs_and_reject_what_was_damaged(
    judge: Path, database_url: str, tmp_path: Path
) -> None:
    sample = tmp_path / "sample"
    sample.mkdir()
    summary = write_sample(sample, **(WHOLE if os.environ.get("TIMEBANK_TORTURE_SECONDS") else SHORT), seed=11)
    opening = OpenLedger(name="合成示例区", synthetic=True)
    with timebank(settings_for(database_url), opening, AdoptPolicy(effective_on=FIRST_DAY)) as bank:
        for name in summary.files:
            HoursImport(bank.store, bank.zone, sample / name, ledger_is_synthetic=True).run()
        facts = bank.store.head()
    log = written(database_url, tmp_path)
    assert accepted(judge, log)["size"] == facts + 1
    assert agrees(log) == PROOFS
