"""Solvency: whether what was promised can be served. What each figure means is written here, and shown with it."""

from typing import Final

import msgspec

SAVER_AGE_YEARS_MIN: Final = 75
IDLE_MONTHS: Final = 12
SERVED_MONTHS: Final = 12

DEFINITIONS: Final = {
    "outstanding": (
        "各户、团队和时间池现有的余额（分钟），只计大于零的账户：承诺将来可以用掉的时间。",
        "What households, groups and pools hold (minutes), of accounts above zero only: the time that they were "
        "promised.",
    ),
    "overdrawn_minutes": (
        "规则允许或因冲正而低于零的账户所欠的分钟之和。",
        "What accounts below zero owe, as the policy allows or after a reversal; minutes.",
    ),
    "served": (
        f"最近 {SERVED_MONTHS} 个完整的月里每月已确认且未冲正的服务分钟；当月不计，首次服务之前的月不计。",
        f"Minutes of confirmed and unreversed service in each of the last {SERVED_MONTHS} whole months; neither this "
        "month nor those before the first service.",
    ),
    "months_to_serve_all": (
        "未用的时间按上述各月的平均服务量，需要多少个月才能全部兑现；没有服务时为空。",
        "How many months it would take to serve all that is outstanding at those months' average; null without any "
        "service.",
    ),
    "issued": (
        "发行 + 从其他社区转入 = 各户和团队持有 + 时间池 + 已兑换 + 已过期 + 转往其他账本；difference 为两边之差，"
        "应始终为 0。账户按现在所属的社区计；没有社区的账户列在空名之下。",
        "Issued + moved in from other communities = held by households and groups + pooled + spent + expired + left "
        "for other ledgers; `difference` is what the sides differ by, and always 0. An account counts for the "
        "community that it belongs to now; those of none are under the empty name.",
    ),
    "waiting": (
        "最近 12 个月内确认的记录从登记到确认的分钟：中位数和第 90 百分位；导入的不计，其登记和确认时间来自旧台账。",
        "Minutes from log to confirmation of the records confirmed in the last 12 months: median and 90th percentile; "
        "not of imported ones, which were logged and confirmed in older books.",
    ),
    "requests": (
        "最近 12 个月提出的服务需求：共多少、已完成、已取消、已过期、已约定、仍待响应；未满足的是已过期和仍待响应的，"
        "unfilled_minutes 是其预计分钟之和。accepted_… 是从提出到约定志愿者的分钟：中位数和第 90 百分位。",
        "Service requests asked in the last 12 months: how many, and of them fulfilled, cancelled, expired, accepted "
        "and still open; unfilled are those expired or open, `unfilled_minutes` is what they were estimated to take. "
        "The `accepted_` figures are the minutes from asking until a volunteer was accepted: median and 90th "
        "percentile.",
    ),
    "idle_savers": (
        f"有经核验年满 {SAVER_AGE_YEARS_MIN} 岁成员、余额大于零、首次存入已满 {IDLE_MONTHS} 个月，而最近 "
        f"{IDLE_MONTHS} 个月没有支出（接受服务、兑换、转赠、捐赠）的户；按余额列出前 100 户。",
        f"Households with a member attested to be {SAVER_AGE_YEARS_MIN} or older, a balance above zero, first credited "
        f"{IDLE_MONTHS} months ago or earlier, that have spent nothing (on service, rewards, transfers, donations) for "
        f"{IDLE_MONTHS} months; the 100 with the most are listed.",
    ),
}


class Outstanding(msgspec.Struct, frozen=True):
    """Balances above zero, by who holds them."""

    households_minutes: int
    groups_minutes: int
    pools_minutes: int
    total_minutes: int


class Identity(msgspec.Struct, frozen=True):
    """Where the issued minutes are, of one community or (``community`` None) of the whole ledger."""

    community: str | None
    issued_minutes: int
    moved_in_minutes: int
    held_minutes: int
    pooled_minutes: int
    spent_minutes: int
    expired_minutes: int
    left_minutes: int

    @property
    def difference_minutes(self) -> int:
        here = self.held_minutes + self.pooled_minutes + self.spent_minutes + self.expired_minutes + self.left_minutes
        return self.issued_minutes + self.moved_in_minutes - here


class MonthServed(msgspec.Struct, frozen=True):
    month: str
    service_minutes: int


class Waiting(msgspec.Struct, frozen=True):
    """None where no record was confirmed in the time."""

    records: int
    median_minutes: int | None
    ninetieth_percentile_minutes: int | None


class Requests(msgspec.Struct, frozen=True):
    """How long those waited that somebody was accepted for is None where there is none."""

    asked: int
    fulfilled: int
    cancelled: int
    expired: int
    accepted: int
    open: int
    unfilled: int
    unfilled_minutes: int
    accepted_median_minutes: int | None
    accepted_ninetieth_percentile_minutes: int | None


class IdleSaver(msgspec.Struct, frozen=True):
    """``last_spent_on`` is None for a household that never spent."""

    household: str
    community: str
    balance_minutes: int
    age_years_min: int
    first_saved_on: str
    last_spent_on: str | None


def months_to_serve_all(outstanding_minutes: int, served: list[MonthServed]) -> float | None:
    """To a tenth of a month, rounded up: what is nearly served isn't."""
    total = sum(month.service_minutes for month in served)
    return -(-outstanding_minutes * len(served) * 10 // total) / 10 if total else None
