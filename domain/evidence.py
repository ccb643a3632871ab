"""Evidence: what stands behind a service record beside its own claim. A grade never goes down.

``self`` is the volunteer's word alone; ``checked-in`` that the presence was noted where the service was; ``recipient``
that the household served vouches for it; ``staff`` that staff do, who saw it or hold the paper (存证).
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from pydantic import Field

from domain.decision import Fold, Question, Reading, read
from domain.fact import Fact
from domain.refusal import AgainstRule

Evidence = Literal["self", "checked-in", "recipient", "staff"]
RANK: Final[dict[Evidence, int]] = {grade: rank for rank, grade in enumerate(get_args(Evidence))}
EVIDENCE_ZH: Final[dict[str, str]] = {
    "self": "本人登记",
    "checked-in": "签到",
    "recipient": "服务对象",
    "staff": "工作人员",
}

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file, 64 lower-case hex digits.")]
EvidenceKind = Literal["photo", "sheet"]


class EvidenceAttached(Fact, frozen=True, omit_defaults=True, gc=False):
    """A photo or a paper sheet belongs to a record: its hash alone, the file is kept elsewhere.

    ``evidence`` is the record's grade from now on.
    """

    type = "evidence-attached.v1"
    record: str
    kind: EvidenceKind
    sha256: str
    attached_by: str
    evidence: Evidence

    def tags(self) -> tuple[str, ...]:
        return ("evidence:" + self.record,)


class Attached(msgspec.Struct, frozen=True, gc=False):
    """What was attached to one record, and the best grade that this gave it."""

    record: str
    evidence: Evidence = "self"
    sha256s: tuple[str, ...] = ()

    @staticmethod
    def of(record: str) -> "Reading[Attached]":
        return _attached.of(record)


def _evolve(state: Attached, fact: EvidenceAttached) -> Attached:
    return Attached(state.record, stronger(state.evidence, fact.evidence), (*state.sha256s, fact.sha256))


_attached = Fold[Attached]("evidence", Attached, _evolve, (EvidenceAttached,))


def stronger(one: Evidence, other: Evidence) -> Evidence:
    return one if RANK[one] >= RANK[other] else other


def weaker(one: Evidence, other: Evidence) -> Evidence:
    return other if RANK[one] >= RANK[other] else one


def require_evidence(record: str, evidence: Evidence, evidence_min: Evidence) -> Generator[Question, Any, None]:
    """Raises: EvidenceTooWeak where neither the record's own grade nor what was attached to it is enough."""
    if RANK[evidence] >= RANK[evidence_min]:
        return
    attached = yield from read(Attached.of(record))
    if RANK[attached.evidence] < RANK[evidence_min]:
        raise EvidenceTooWeak(record, stronger(evidence, attached.evidence), evidence_min)


@dataclass(unsafe_hash=True)
class EvidenceTooWeak(AgainstRule):
    record: str
    evidence: str
    evidence_min: str
    zh = "服务记录“{record}”的凭据是“{evidence}”，确认至少需要“{evidence_min}”。"
    en = "The evidence of record “{record}” is “{evidence}”; confirming it needs “{evidence_min}” at least."

    @property
    def message_zh(self) -> str:
        grades = {
            "evidence": EVIDENCE_ZH.get(self.evidence, self.evidence),
            "evidence_min": EVIDENCE_ZH.get(self.evidence_min, self.evidence_min),
        }
        return self.zh.format(record=self.record, **grades)
