"""What an audit finds: one thing that is wrong, where it is and of which kind, and how many there are of each kind."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

KEPT_MAX: Final = 20
"""Findings of each kind (and refusal) that are kept; what is found beyond them is counted."""

REFUSED, OTHERWISE, OTHER_POLICY, OTHER_TAGS = "refused", "decided-otherwise", "other-policy", "other-tags"
NO_COMMAND, MIXED, REPEATED, UNDECIDABLE = "no-command", "command-mixed", "command-repeated", "undecidable"
BACK_IN_TIME, BEFORE_DECIDED, LONG_AFTER = "recorded-back", "recorded-before-decided", "recorded-long-after"
COUNTED_OTHERWISE, SEALED_OTHERWISE, DRAWN_OTHERWISE = "counted-otherwise", "sealed-otherwise", "drawn-otherwise"
GAP, CHANGED, REMOVED, INSERTED = "gap", "fact-changed", "fact-removed", "fact-inserted"
SWAPPED = "facts-swapped"
TAIL_REMOVED, UNREADABLE, LINE_CHANGED = "tail-removed", "fact-unreadable", "line-changed"
TILE, ENTRIES, LOG_HEAD = "tile-changed", "entries-changed", "log-head-changed"
NO_CHECKPOINT, UNSIGNED, OTHER_ROOT = "no-checkpoint", "signature", "other-root"
COSIGNATURE, KEYS = "cosignature", "key"
BALANCES, FIGURES, POLICIES, NOT_CONSERVED = "balance", "figure", "policy", "not-conserved"
PLAIN, PROJECTION, TAGS_INDEX = "plain-journal", "projection", "tags-index"
BUNDLE, FILE_CHANGED, FILE_MISSING, FILE_UNLISTED = "bundle", "file-changed", "file-missing", "file-unlisted"

KINDS: Final[dict[str, tuple[str, str]]] = {
    BUNDLE: ("审计包不完整或不可读", "the bundle is incomplete or can't be read"),
    KEYS: ("公钥与受信任的不相连", "a key isn't linked to one that is trusted"),
    UNSIGNED: ("签名不成立", "a signature doesn't hold"),
    COSIGNATURE: ("见证人的副签缺少或不成立", "a witness's cosignature is missing or doesn't hold"),
    NO_CHECKPOINT: ("检查点不可读或不是这个账本的", "a checkpoint can't be read, or is of another ledger"),
    OTHER_ROOT: ("树的根与签名的检查点不符", "the tree's root isn't the one that was signed"),
    GAP: ("位置不连续", "positions are not in a row"),
    REMOVED: ("事实被删除", "a fact was removed"),
    INSERTED: ("插入了事实", "a fact was inserted"),
    SWAPPED: ("两条事实对调", "two facts changed places"),
    CHANGED: ("事实被改动", "a fact was changed"),
    TAIL_REMOVED: ("末尾的事实被删除", "facts at the end were removed"),
    LINE_CHANGED: ("行与存储的事实不同", "a line isn't the fact as it was stored"),
    UNREADABLE: ("事实无法解读", "a fact can't be read"),
    TILE: ("日志的瓦片被改动或缺少", "a tile of the log was changed, or is missing"),
    ENTRIES: ("条目包被改动或缺少", "an entry bundle was changed, or is missing"),
    LOG_HEAD: ("日志头与条数不符", "the log's head isn't one of its size"),
    REFUSED: ("规则当时会拒绝", "the rules would have refused it"),
    OTHERWISE: ("按规则应得出不同的事实", "the rules come to other facts"),
    OTHER_POLICY: ("规则版本不符", "it names another version of the policy"),
    OTHER_TAGS: ("标签不是由事实得出的", "its tags don't derive from it"),
    NO_COMMAND: ("没有命令会得出这样的事实", "no command comes to such facts"),
    MIXED: ("同一命令的各条事实记着不同的人、时间或内容", "facts of one command differ in who, when or what was asked"),
    REPEATED: ("同一命令再次登记", "the command was recorded before"),
    BACK_IN_TIME: ("记录时间早于前一条", "it was recorded before the fact before it"),
    BEFORE_DECIDED: ("记录时间早于决定时间", "it was recorded before it was decided"),
    LONG_AFTER: ("决定很久之后才记录", "it was recorded long after it was decided"),
    COUNTED_OTHERWISE: ("证明或星级的计数不符", "a certificate or star was counted otherwise"),
    SEALED_OTHERWISE: ("月份的封存与账本不符", "a month's seal isn't what the journal comes to"),
    DRAWN_OTHERWISE: ("抽样与重抽的不符", "a sample isn't what is drawn again"),
    UNDECIDABLE: ("无法重新决定", "it can't be decided again"),
    NOT_CONSERVED: ("各账户合计不为零", "all accounts together aren't zero"),
    BALANCES: ("余额与事实不符", "a balance isn't what the facts come to"),
    FIGURES: ("公开数字与事实不符", "a figure isn't what the facts come to"),
    POLICIES: ("规则与事实不符", "rules aren't those of the facts"),
    PLAIN: ("纯文本流水与事实不符", "a plain-text journal isn't that of the facts"),
    PROJECTION: ("汇总表的行与事实不符", "a projection's row isn't what the facts come to"),
    TAGS_INDEX: ("查找事实的索引与事实不符", "the index that facts are found by isn't theirs"),
    FILE_MISSING: ("缺少清单里的文件", "a file of the manifest is missing"),
    FILE_CHANGED: ("文件与清单不符", "a file isn't the one of the manifest"),
    FILE_UNLISTED: ("有清单之外的文件", "a file isn't in the manifest"),
}
"""What can be found, in words."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong. ``place`` is a file, a table or a checkpoint; of a fact it is empty, and ``position``
    says where it is (0: no fact), ``type`` and ``command`` what it is. ``code`` is a refusal's."""

    kind: str
    message_zh: str
    message_en: str
    place: str = ""
    position: int = 0
    type: str = ""
    command: str = ""
    code: str = ""

    @property
    def told_zh(self) -> str:
        zh, _ = KINDS[self.kind]
        code = f" [{self.code}]" if self.code else ""
        return f"{self._where('位置')}{zh}{code}：{self.message_zh}"

    @property
    def told_en(self) -> str:
        _, en = KINDS[self.kind]
        code = f" [{self.code}]" if self.code else ""
        return f"{self._where('position')}{en}{code}: {self.message_en}"

    def _where(self, word: str) -> str:
        type_ = f" ({self.type})" if self.type else ""
        fact = f"{word} {self.position}{type_}" if self.position else ""
        return " ".join(filter(None, (self.place, fact))) + ": " if self.place or fact else ""


class Findings:
    """What was found so far, in order: the first few of each kind, and how many there are of each."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        """By kind and the refusal's code."""

    def add(self, finding: Finding) -> None:
        key = finding.kind, finding.code
        self.counts[key] += 1
        if self.counts[key] <= KEPT_MAX:
            self.found.append(finding)

    def extend(self, others: "Findings") -> None:
        """Take in what another part of the audit found, after what is here."""
        kept: Counter[tuple[str, str]] = Counter()
        for finding in others.found:
            self.add(finding)
            kept[finding.kind, finding.code] += 1
        for key, count in others.counts.items():
            self.counts[key] += count - kept[key]

    def sort(self) -> None:
        """Have what was found in facts in the order of their positions."""
        self.found.sort(key=lambda finding: finding.position)

    def restore(self, found: Iterable[Finding], counts: Counter[tuple[str, str]]) -> None:
        """Forget what was found since."""
        self.found, self.counts = list(found), counts

    @property
    def total(self) -> int:
        return self.counts.total()
