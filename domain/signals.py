"""Risk signals for inspection (风险检查): rules that point at records worth looking into. A signal proves nothing.

Each rule is written here, once, with its parameters, and is shown with whatever it found. The parameters were chosen so
that the ordinary life of a district gives next to none.
"""

from typing import Final

import msgspec


class Rule(msgspec.Struct, frozen=True):
    """One rule. The texts name the ``parameters``; shares are in per cent, ages and gaps in the unit that they name."""

    name: str
    parameters: dict[str, int]
    zh_template: str
    en_template: str

    @property
    def zh(self) -> str:
        return self.zh_template.format_map(self.parameters)

    @property
    def en(self) -> str:
        return self.en_template.format_map(self.parameters)


class Signal(msgspec.Struct, frozen=True):
    """What one rule found: about whom (persons, households or a community), how it measured, and which records.

    ``records`` are the first of the ``records_count`` in the order they were logged.
    """

    who: list[str]
    communities: list[str]
    measured: dict[str, int | str]
    records_count: int
    service_minutes: int
    records: list[str]


RING = {"people_max": 6, "records_min": 3, "share_percent_min": 50}

RULES: Final[dict[str, Rule]] = {
    rule.name: rule
    for rule in (
        Rule(
            "confirmation-ring",
            RING,
            "两名至 {people_max} 名志愿者轮流互相确认：每人至少 {records_min} 条、且不少于 {share_percent_min}% 的"
            "已确认记录由圈内的下一人确认。",
            "Two to {people_max} volunteers confirm one another in turn: of each one's confirmed records at least "
            "{records_min}, and no fewer than {share_percent_min} %, were confirmed by the next in the ring.",
        ),
        Rule(
            "service-ring",
            RING,
            "两户至 {people_max} 户轮流互相服务：每户至少 {records_min} 条、且不少于 {share_percent_min}% 的"
            "（有服务对象户的）记录服务于圈内的下一户。",
            "Two to {people_max} households serve one another in turn: of the records each one gave to a named "
            "household at least {records_min}, and no fewer than {share_percent_min} %, served the next in the ring.",
        ),
        Rule(
            "one-confirmer",
            {"records_min": 20, "share_percent_min": 90, "usual_percent_max": 50},
            "同一志愿者由工作人员确认的记录不少于 {records_min} 条，其中 {share_percent_min}% 以上由同一人确认，"
            "而此人在同样的社区确认其他志愿者的记录不超过 {usual_percent_max}%。",
            "Of at least {records_min} records of one volunteer that staff confirmed no fewer than "
            "{share_percent_min} % were confirmed by the same person, who in the same communities confirms at most "
            "{usual_percent_max} % of the other volunteers' records.",
        ),
        Rule(
            "implausible-day",
            {"records_min": 6, "minutes_min": 540, "moves_min": 2, "travel_minutes_min": 15},
            "同一志愿者一天内不少于 {records_min} 条记录，或合计不少于 {minutes_min} 分钟，或不少于 {moves_min} 次"
            "在 {travel_minutes_min} 分钟之内换到另一社区服务。",
            "One volunteer's day has at least {records_min} records, or {minutes_min} minutes, or at least {moves_min} "
            "moves to another community in less than {travel_minutes_min} minutes.",
        ),
        Rule(
            "burst-after-change",
            {"days": 14, "spans_before": 3, "growth_percent_min": 200, "records_min": 30},
            "新规则生效后 {days} 天内，一个社区的记录不少于 {records_min} 条，且不少于生效前 {spans_before} 个 {days} "
            "天中最多的一个的 {growth_percent_min}%；之前没有记录的社区、以及这些天不全在期间内的规则不计。",
            "In the {days} days from a new policy's first day a community has at least {records_min} records, and no "
            "fewer than {growth_percent_min} % of the busiest of the {spans_before} times {days} days before; not a "
            "community without any before, nor a policy before which the period has fewer days.",
        ),
        Rule(
            "at-the-limit",
            {"days_min": 3, "points_above_min": 10},
            "同一志愿者有不少于 {days_min} 天恰好达到当时规则的上限（单条最长，或一天最多），"
            "占其服务天数的比例比全区高出 {points_above_min} 个百分点以上。",
            "A volunteer has at least {days_min} days exactly at a limit of the policy of that day (the longest "
            "record, or the most minutes a day), and their share of the volunteer's days is at least "
            "{points_above_min} points above the district's.",
        ),
        Rule(
            "always-round",
            {"records_min": 20, "step_minutes": 30, "share_percent_min": 90, "points_above_min": 30},
            "同一志愿者不少于 {records_min} 条记录中，{share_percent_min}% 以上的时长恰为 {step_minutes} 分钟的整数倍，"
            "且比全区高出 {points_above_min} 个百分点以上。",
            "Of at least {records_min} records of one volunteer no fewer than {share_percent_min} % last exact "
            "multiples of {step_minutes} minutes, at least {points_above_min} points more than the district's.",
        ),
    )
}

SCOPE_ZH: Final = "只看期间内开始的、待确认和已确认的服务记录（已驳回和已冲正的不看）；信号不是结论，须逐条核对。"
SCOPE_EN: Final = (
    "Looks at services begun in the period that wait to be confirmed or are confirmed (not at rejected or reversed "
    "ones). A signal is no finding: look into the records."
)
