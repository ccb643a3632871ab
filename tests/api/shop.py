"""A partner with one reward, and households that may redeem it."""

import itertools
from typing import Any

from api.wiring import Timebank
from domain.account import FundPool, GrantMinutes, fund_pool, grant_minutes
from domain.household import RegisterMember, register_member
from domain.redemption import code_sha256
from tests.api.service import XINZHU, Api
from tests.controls import CODE

_numbers = itertools.count(1)


class Shop:
    """Its counter calls by the partner's number."""

    def __init__(self, api: Api, partner: str, reward: str) -> None:
        self.api, self.partner, self.reward = api, partner, reward

    def household(self, minutes: int) -> str:
        """A household of Xinzhu with a balance; its one member is ``M-`` and its number, with a token."""
        household = self.api.new_household()
        self.api.record(
            (register_member, RegisterMember(member="M-" + household, household=household)),
            (fund_pool, FundPool(community=XINZHU, minutes=minutes)),
            (grant_minutes, GrantMinutes(household=household, minutes=minutes, need="other")),
        )
        self.api.tokens["M-" + household] = self.api.new_token("M-" + household, "volunteer")
        return household

    def asked(self, household: str, **changes: Any) -> dict[str, Any]:
        """What a member's phone sends to reserve."""
        number = changes.pop("reservation", f"RV{next(_numbers)}")
        member = "M-" + household
        digest = code_sha256(number, CODE)
        return {"reservation": number, "reward": self.reward, "member": member, "code_sha256": digest} | changes

    def reserved(self, household: str) -> str:
        return str(self.api.wrote("/v1/reservations", self.asked(household), "M-" + household)["reservation"])

    def collected(self, household: str) -> str:
        number = self.reserved(household)
        self.api.wrote(f"/v1/reservations/{number}/collection", {"code": CODE}, self.partner)
        return number


def open_shop(api: Api, **terms: Any) -> Shop:
    """A new partner of Xinzhu, whose reward costs 30 minutes and is for Xinzhu's households, if not said otherwise."""
    number = next(_numbers)
    partner, reward = f"P{number}", f"RW{number}"
    api.wrote("/v1/partners", {"partner": partner, "name": "新竹食堂", "community": XINZHU}, "S1")
    offered = {"reward": reward, "partner": partner, "name": "午餐", "minutes": 30, "items": 5, "communities": [XINZHU]}
    api.wrote("/v1/rewards", offered | terms, "S1")
    api.tokens[partner] = api.new_token(partner, "partner")
    return Shop(api, partner, reward)


def balance(api: Api, household: str) -> tuple[int, int]:
    """What a household holds, and what of it is held."""
    found = api.read(f"/v1/households/{household}/balance", "auditor")
    return found["balance_minutes"], found["held_minutes"]


def all_bytes(bank: Timebank) -> str:
    """Every stored byte of the journal and every projected row that has to do with redemptions."""
    with bank.reading() as connection:
        rows = connection.execute("SELECT convert_from(data, 'UTF8'), tags::text FROM facts").fetchall()
        rows += connection.execute("SELECT r::text, '' FROM reservations r").fetchall()
        rows += connection.execute("SELECT r::text, '' FROM redemptions r").fetchall()
    return "\n".join(map(str, rows))
