"""The rule books of other time banks as settings of a policy, and what of them the settings can't say.

Facts are those of FIELD, "Rule books seen", and no more: a setting that a source gives no number for stays at its
default, and the preset says so (``open``). Where a source's own unit had to be read, that is said too (``assumed``).
A preset is a place to begin: it is proposed and approved like any other policy.
"""

from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from domain.policy import Policy


class Text(NamedTuple):
    zh: str
    en: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One rule book. ``settings`` are the ones that differ from the defaults, or that the source itself names."""

    name: str
    place: Text
    source: str
    settings: dict[str, Any]
    said: tuple[Text, ...] = ()
    """What of the rule book the settings hold."""
    assumed: tuple[Text, ...] = ()
    """What had to be read into the source for a setting."""
    open: tuple[Text, ...] = ()
    """What the source doesn't say, so that the setting stays at its default."""
    unsaid: tuple[Text, ...] = ()
    """What no setting can say."""

    @property
    def policy(self) -> Policy:
        return Policy(**self.settings)


def described(preset: Preset) -> dict[str, Any]:
    """A preset in full, with every setting of its policy."""

    def told(texts: tuple[Text, ...]) -> list[dict[str, str]]:
        return [text._asdict() for text in texts]

    return {
        "name": preset.name,
        "place": preset.place._asdict(),
        "source": preset.source,
        "settings": preset.settings,
        "said": told(preset.said),
        "assumed": told(preset.assumed),
        "open": told(preset.open),
        "unsaid": told(preset.unsaid),
        "policy": asdict(preset.policy),
    }


FIELD: Final = "FIELD, “Rule books seen”: "
ADULTS: Final = Text(
    "志愿者须年满 18 岁：账本不记年龄，由注册的人核对",
    "volunteers of 18 and over: whoever enrols them checks that",
)
PER_PERSON: Final = Text("上限按人计：这里的余额属于户", "a cap a person: here the household holds the balance")
ELSEWHERE: Final = Text("账本之间的兑换：一个账本是一个区", "exchange between districts: a ledger is one district")

_ALL: Final = (
    Preset(
        name="nanjing",
        place=Text("南京", "Nanjing"),
        source=FIELD + "Nanjing",
        settings={
            "balance_minutes_max": 90_000,
            "above_balance_max": "pool",
            "redemption_age_years_min": 60,
            "group_hours": "donate-only",
        },
        said=(
            Text("余额上限 1500 小时，超出部分捐入公共时间池", "a cap of 1500 h, the excess donated to the pool"),
            Text("年满 60 岁方可兑换", "redeemed from the age of 60"),
            Text("团体服务的时间起初只能捐赠", "hours given by groups can only be donated at first"),
        ),
        unsaid=(
            Text(
                "超出部分由本人选捐赠或荣誉：设置只能二选一（above_balance_max）",
                "the excess to donation or honours as one likes: the setting is one or the other (above_balance_max)",
            ),
            Text(
                "服务对象：80 岁以上独居；60–79 岁低收入且（半）失能；60 岁以上有存时",
                "recipients: 80+ living alone, 60–79 on low income and (semi-)disabled, 60+ with stored time",
            ),
            Text("全市通存通兑", "deposit and redemption all over the city"),
            Text("兑付保障基金", "a fund that guarantees the payout"),
        ),
    ),
    Preset(
        name="beijing-2022",
        place=Text("北京（2022 年 6 月）", "Beijing (2022-06)"),
        source=FIELD + "Beijing (2022-06)",
        settings={"redemption_age_years_min": 60, "transfer": "family", "evidence_min": "checked-in"},
        said=(
            Text("年满 60 岁方可兑换，或转给直系亲属", "redeemed from 60, or given to direct relatives"),
            Text("每次服务都要签到、签退", "sign-in and sign-out for every service"),
        ),
        open=(Text("不足一小时如何折成时间币", "how less than an hour becomes a coin (1 h = 1 coin)"),),
        unsaid=(
            ADULTS,
            Text("学生须有监护人陪同", "students with a guardian"),
            Text("服务分八类：服务项目在账本里可自由命名", "eight service classes: services are named freely here"),
            Text("“直系”亲属：这里是本户的家庭关系", "relatives who are “direct”: here the household's family ties"),
        ),
    ),
    Preset(
        name="shanghai-2026",
        place=Text("上海（2026 年）", "Shanghai (2026)"),
        source=FIELD + "Shanghai (2026)",
        settings={"redemption_age_years_min": 65, "transfer": "anyone"},
        said=(
            Text("年满 65 岁方可兑换", "redeemed from the age of 65"),
            Text("可转赠亲友", "gifts to relatives and friends"),
        ),
        assumed=(Text("“友”是任何一户", "a “friend” may be any household"),),
        unsaid=(
            Text("困难者 60 岁起兑换", "redeemed from 60 in hardship"),
            Text(
                "捐给平台、困难老人或公益组织：捐赠不受规则限制，只能捐入公共时间池",
                "donations to the platform, needy elders or non-profits: a donation needs no rule and goes to a pool",
            ),
            ELSEWHERE,
        ),
    ),
    Preset(
        name="changning",
        place=Text("上海长宁（较早）", "Shanghai Changning (earlier)"),
        source=FIELD + "Shanghai Changning (earlier)",
        settings={"day_minutes_max": 120, "balance_minutes_max": 36_000},
        said=(Text("每天最多 2 枚、每人最多 600 枚时间币", "at most 2 coins a day, and 600 a person"),),
        assumed=(Text("一枚时间币为一小时，如北京", "a coin is an hour, as in Beijing"),),
        open=(Text("超过 600 枚的部分归何处", "where what is above the 600 goes"),),
        unsaid=(
            Text("服务者 60–70 岁（女性 50 岁起）", "providers of 60–70 (women from 50)"),
            PER_PERSON,
        ),
    ),
    Preset(
        name="guangzhou-2019",
        place=Text("广州（2019 年）", "Guangzhou (2019)"),
        source=FIELD + "Guangzhou (2019)",
        settings={
            "record_minutes_min": 60,
            "rounding_step_minutes": 60,
            "balance_minutes_max": 90_000,
            "redemption_balance_minutes_min": 6_000,
        },
        said=(
            Text("只计整分，存满 100 小时方可兑换", "whole points, redeemed from 100 h"),
            Text("上限 1500", "a cap of 1500"),
        ),
        assumed=(
            Text("一分为一小时", "a point is an hour"),
            Text("不足一小时的服务取整后为零，所以不登记", "less than an hour rounds to nothing, so it isn't logged"),
        ),
        open=(
            Text("向上或向下取整", "whether points are rounded up or down"),
            Text("超过上限的部分归何处", "where what is above the cap goes"),
        ),
        unsaid=(Text("兑换物品或服务：由合作单位提供什么决定", "goods or services: that is what partners offer"),),
    ),
    Preset(
        name="qingdao-2020",
        place=Text("青岛（2020 年）", "Qingdao (2020)"),
        source=FIELD + "Qingdao (2020)",
        settings={"record_minutes_min": 60, "rounding_step_minutes": 60},
        said=(Text("以小时为单位", "hourly units"),),
        assumed=(
            Text("不足一小时的服务取整后为零，所以不登记", "less than an hour rounds to nothing, so it isn't logged"),
        ),
        open=(Text("向上或向下取整", "whether hours are rounded up or down"),),
        unsaid=(
            ADULTS,
            Text(
                "只有五项服务：助餐、助浴、助洁、助急、助医",
                "five services only: meals, bathing, cleaning, emergency, medical company",
            ),
        ),
    ),
    Preset(
        name="st-gallen",
        place=Text("圣加仑（瑞士）", "St. Gallen (Switzerland)"),
        source=FIELD + "St. Gallen",
        settings={"balance_minutes_max": 45_000},
        said=(
            Text("余额上限 750 小时", "a cap of 750 h"),
            Text(
                "照顾配偶不计时间：任何规则下，为自己的户服务都不计时间",
                "no credit for one's own spouse: under every policy, serving one's own household earns nothing",
            ),
        ),
        open=(
            Text("超过上限的部分归何处", "where what is above the cap goes"),
            Text("“60 岁起”是服务还是兑换的年龄", "whether “from 60” is the age to give or to redeem"),
        ),
        unsaid=(Text("由市政府担保存量", "the city guarantees the stock"),),
    ),
    Preset(
        name="northern-california",
        place=Text("北加利福尼亚（美国）", "Northern California (USA)"),
        source=FIELD + "N. California",
        settings={
            "payer": "recipient",
            "balance_minutes_min": -600,
            "rounding": "up",
            "rounding_step_minutes": 15,
            "starting_grant_minutes": 120,
        },
        said=(
            Text("余额最低为 −10 小时", "a floor of −10 h"),
            Text("每刻钟向上取整（52 分钟计 1 小时）", "quarter hours rounded up (52 min are 1 h)"),
            Text("参加入门介绍得 2 小时", "2 h for orientation"),
        ),
        assumed=(
            Text(
                "由服务对象的户支付，否则下限没有意义", "the recipient's household pays, or a floor would bind nobody"
            ),
            Text(
                "入门介绍的 2 小时作为起始时间（starting_grant_minutes），由工作人员在介绍之后拨付，原因写 other",
                "the 2 h for orientation are the starting grant (starting_grant_minutes), which staff give after it, "
                "for the need “other”",
            ),
        ),
        unsaid=(
            Text(
                "按人得：起始时间每户一次，由社区的时间池支付",
                "a person's 2 h: a household has the starting grant once, and its community's pool pays",
            ),
        ),
    ),
    Preset(
        name="cyclos",
        place=Text("Cyclos（软件）", "Cyclos (software)"),
        source=FIELD + "Cyclos",
        settings={},
        open=(
            Text(
                "没有给出数字；每月转赠上限为 transfer_minutes_month_max，每日服务上限为 day_minutes_max",
                "no number is given; transfer_minutes_month_max bounds a month's gifts, day_minutes_max a day",
            ),
        ),
        said=(
            Text("上限的更改历史：规则的各版就是", "a history of limit changes: the versions of the policy are one"),
        ),
        unsaid=(Text("每周、每年的上限，每个账户各自的上限", "limits a week or a year, and limits of one account"),),
    ),
    Preset(
        name="qingxiu",
        place=Text("青秀区（合成示例）", "Qingxiu (the synthetic sample)"),
        source="本程序自拟，并非该区的规则 / made up for the sample; not the district's own rules",
        settings={
            "transfer": "family",
            "transfer_minutes_month_max": 1_200,
            "grant_minutes_alone_max": 600,
            "starting_grant_minutes": 300,
            "take_along": True,
        },
        said=(
            Text("家人之间可转赠，每月至多 20 小时", "gifts within the family, at most 20 h a month"),
            Text("一人至多拨付 10 小时，以上须两人", "one person grants up to 10 h; above that it takes two"),
            Text("新的困难户启动拨付 5 小时", "a starting grant of 5 h for a new household in need"),
            Text("搬离时可带走余额", "a household that moves away may take its balance along"),
            Text("逾期不答复不算确认", "silence never confirms"),
        ),
        open=(
            Text(
                "其余为默认：余额上限 1500 小时，超出入池；不过期；登记、补登和每日上限",
                "all else at its default: a cap of 1500 h with the excess to the pool, no expiry, the same limits",
            ),
        ),
    ),
)

PRESETS: Final[dict[str, Preset]] = {preset.name: preset for preset in _ALL}
