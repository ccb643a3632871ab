"""The scenes of the sample district: their cast is found in the imported history, names go to the vault, and a small
second ledger is opened for who comes from next door. What is played is in `application/sample_scenes`.
"""

import dataclasses
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import Cursor

from api.certificate import vault_key
from api.disclosure import secret_key
from api.notifier import begin_notices
from api.wiring import Timebank, timebank
from application.sample import COMMUNITY_NAMES
from application.sample_scenes import (
    DISTRICT,
    NAMES,
    STORIES,
    certificates,
    disclosed_periods,
    emigrant,
    somebody_leaves_the_neighbour,
    the_neighbour_begins,
)
from application.scenes import (
    Arrival,
    Cast,
    OldCredit,
    Played,
    Served,
    Settled,
    Stage,
    first_played,
    play,
    require_synthetic,
)
from domain.account import BalanceTakenAlong, household_account
from domain.certificate import code_sha256
from domain.ledger import OpenLedger
from domain.policy import AdoptPolicy
from domain.statement import VALID_DAYS, BalanceStatement
from infrastructure.signing import create_key, open_note, read_key
from infrastructure.vault import remember
from projections import scenes

NEIGHBOUR: Final = "sample-neighbour"
NEIGHBOUR_NAME: Final = "邻区时间银行（合成示例 synthetic sample）"
DECIDER: Final = "S0101"
"""Staff who may try the demo out, and so must have no part in the dispute that they are to decide."""
OLD_MEMBERS: Final = 3
SAVERS: Final = 2
CONSENTING: Final = 60


class NoSampleHistory(Exception):
    """The ledger holds no imported history to play scenes in."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"账本“{name}”中没有示例区的服务记录，请先导入 timebank sample 生成的文件。 / "
            f"The ledger “{name}” holds no records of the sample district; import the files of `timebank sample` first."
        )


def play_scenes(bank: Timebank, visitor: str, policy: AdoptPolicy, now: datetime, seed: int = 7) -> Played:
    """Play all scenes, as far as they aren't recorded yet. The projections must hold the imported history.

    ``visitor`` is the volunteer who may try the demo out; ``policy`` are the first rules of the ledger next door. The
    days count back from the one of ``now``, or from the one on which they were first played.

    Raises: SceneInRealLedger, NoSampleHistory, SigningKeyUnusable, StoreUnavailable.
    """
    require_synthetic(bank.store)
    with bank.reading() as connection, connection.cursor() as cursor:
        cast = find_cast(cursor, visitor)
    if cast is None:
        raise NoSampleHistory(bank.opened.name)
    stage = Stage(today=now.astimezone(bank.zone).date(), zone=bank.zone, ledger=bank.name, cast=cast, seed=seed)
    stage = dataclasses.replace(stage, today=first_played(bank.store, stage, STORIES))
    if bank.name != NEIGHBOUR:
        stage = dataclasses.replace(stage, neighbour=NEIGHBOUR, arrival=_arrival(bank, stage, policy))
    if read_key(bank.settings.data, bank.name) is None:
        create_key(bank.settings.data, bank.name)  # so that who leaves can be shown a signed statement
    with psycopg.connect(bank.address) as connection:
        kept = {vault_key(code_sha256(one.code)): one.kept for one in certificates(stage)}
        kept |= {secret_key(period): stage.pseudonym_secret(period).hex() for period in disclosed_periods(stage)}
        remember(connection, bank.name, names=NAMES, remarks=kept, overwrite=False)
    begin_notices(
        bank
    )  # so that people are told of what the scenes do when the service starts, though not of the import
    return play(bank.store, stage, STORIES)


def find_cast(cursor: Cursor[Any], visitor: str) -> Cast | None:
    """Who takes part, the same in every run; None where no sample was imported."""
    everybody = [Served(*found) for found in scenes.served(cursor)]
    at_home = scenes.visitor_at_home(cursor, visitor)
    if not everybody or at_home is None:
        return None
    household, community = at_home
    with_served = {one.community for one in everybody}
    # Staff of the first community may try the demo out; a very small sample may have served nobody there.
    home = next((name for name in COMMUNITY_NAMES if name in with_served), None)
    if home is None:
        return None
    elsewhere, third = [name for name in COMMUNITY_NAMES if name != home][:2]
    grids = scenes.base_grids(cursor, elsewhere)
    splitting = grids[0] if len(grids) > 1 else None
    disputable = scenes.last_settled(cursor, community=home, not_by=DECIDER, but_of=household)
    of_visitor = scenes.last_settled(cursor, volunteer=visitor, not_by=DISTRICT.id)
    return Cast(
        visitor=visitor,
        visitor_household=household,
        home=home,
        elsewhere=elsewhere,
        third=third,
        served=tuple(one for one in everybody if one.community == home),
        near_visitor=next((one for one in everybody if one.community == community), everybody[-1]),
        old_members=tuple(scenes.volunteers_of(cursor, home, OLD_MEMBERS)),
        savers=tuple(OldCredit(*found) for found in scenes.oldest_credits(cursor, household, SAVERS)),
        disputable=None if disputable is None else Settled(*disputable),
        disputable_of_visitor=None if of_visitor is None else Settled(*of_visitor),
        split_grid=splitting,
        other_grid=grids[-1] if grids else None,
        followers=tuple(
            one.household for one in everybody if one.community == elsewhere and one.grid[:1] == (splitting,)
        ),
        last_served_on=scenes.last_served_on(cursor),
        consenting=tuple(scenes.last_serving(cursor, CONSENTING)),
    )


def _arrival(bank: Timebank, stage: Stage, policy: AdoptPolicy) -> Arrival | None:
    """The statement of a household that comes from the ledger next door, which is opened for it, and signs it.

    None where somebody's real ledger has the name of the one next door.
    """
    settings = bank.settings.model_copy(update={"ledger": NEIGHBOUR})
    with timebank(settings, OpenLedger(name=NEIGHBOUR_NAME, synthetic=True), policy) as neighbour:
        if not neighbour.opened.synthetic:
            return None
        next_door = dataclasses.replace(stage, neighbour=NEIGHBOUR)
        play(neighbour.store, dataclasses.replace(next_door, ledger=NEIGHBOUR), [the_neighbour_begins])
        play(neighbour.store, next_door, [somebody_leaves_the_neighbour])
        household = emigrant(bank.name)
        taken, decided_at, version = next(_leavings(neighbour, household))
    key = read_key(settings.data, NEIGHBOUR) or create_key(settings.data, NEIGHBOUR)
    statement = BalanceStatement(
        ledger=NEIGHBOUR,
        number=int(taken.statement.rpartition("-")[2]),
        household=household,
        members=taken.members,
        minutes=taken.minutes,
        earned_minutes=0,  # all that it held was brought in from older books
        spent_minutes=0,
        receiving_ledger=bank.name,
        issued_at=decided_at.astimezone(stage.zone).replace(microsecond=0),
        valid_until=decided_at.astimezone(stage.zone).date() + timedelta(days=VALID_DAYS),
        policy=version,
    )
    # As whoever receives it would: believed for the signature alone.
    text = open_note(key.sign(statement.text()), key.verifier)
    return Arrival(statement=BalanceStatement.parse(text), key=str(key.verifier))


def _leavings(bank: Timebank, household: str) -> Iterator[tuple[BalanceTakenAlong, datetime, int]]:
    cold, tail = bank.store.read_boundary(["account:" + household_account(household)], bank.store.head())
    for recorded in (*cold, *tail):
        if isinstance(recorded.envelope.fact, BalanceTakenAlong):
            yield recorded.envelope.fact, recorded.envelope.decided_at, recorded.envelope.policy
