"""Identifiers and names that may enter the journal, and those that must not.

The journal never forgets, so it holds no personal data: an identifier that is an identity-card number or a
mobile number is refused at every door. The command models and the reader of hours files share the functions
below, so that what one accepts the other does too:

    text → `normal_id` / `normal_name` → `check_id` / `check_name` → a `Flaw`, or None when the text is fit
"""

import re
import unicodedata
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

ID_CHARACTERS_MAX: Final = 64
NAME_CHARACTERS_MAX: Final = 40
MOBILE_DIGITS: Final = 11
"""No number of a person is shorter."""
NAME_SEPARATORS: Final = "/／>＞"
"""What parts the levels of a grid path, so no single name may contain it."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# Lines of identifiers that are too short, or have too few digits, for a number of a person.
_SHORT_ID = rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MOBILE_DIGITS - 2}}}+"
_FEW_DIGITS = rf"(?![._-])(?:[A-Za-z._-]*+[0-9]){{1,{MOBILE_DIGITS - 1}}}+[A-Za-z._-]*+"
_PLAIN_IDS = re.compile(rf"(?:(?:{_SHORT_ID}|{_FEW_DIGITS})\n)*+(?:{_SHORT_ID}|{_FEW_DIGITS})")
# What people put between the groups of a number, after NFKC: spaces, hyphens and dashes, dots, slashes, underscores.
_GAP = r"[ ._/\\·・。‐‒–—―−-]{0,3}"
# Parted, it may not touch a letter of hexadecimal digits: an id of the ledger's own would look like one now and then.
_MOBILE = re.compile(r"(?<![0-9])(?:(?:00)?86)?1[3-9][0-9]{9}(?![0-9])")
_MOBILE_PARTED = re.compile(
    rf"(?<![0-9A-Fa-f])(?:(?:00)?86{_GAP})?1[3-9][0-9](?P<gap>{_GAP})(?P<middle>[0-9]{{4}})"
    rf"(?P<late_gap>{_GAP})(?P<end>[0-9]{{4}})(?![0-9A-Fa-f])"
)
_IDENTITY_18 = re.compile(r"(?<![0-9])[0-9]{17}[0-9Xx](?![0-9])")
_IDENTITY_15 = re.compile(r"(?<![0-9])[0-9]{15}(?![0-9])")
# From its first digit on: looking again from each digit of a shorter one takes four times as long.
_LONG_NUMBER = re.compile(rf"(?<![0-9])[0-9](?:{_GAP}[0-9]){{10,}}[Xx]?")
# Provinces (GB/T 2260), residence permits of Hong Kong, Macao and Taiwan (8…), of foreigners (9…).
_PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|9[0-9]")
_IDENTITY_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_IDENTITY_CHECK_DIGITS = "10X98765432"


class Flaw(StrEnum):
    """Why a text can't be an identifier or a name: the value says it in English, `zh` in Chinese."""

    zh: str

    def __new__(cls, english: str, chinese: str) -> "Flaw":
        flaw = str.__new__(cls, english)
        flaw._value_ = english
        flaw.zh = chinese
        return flaw

    BLANK = "must not be empty", "不能为空"
    ID_TOO_LONG = f"must have at most {ID_CHARACTERS_MAX} characters", f"最多 {ID_CHARACTERS_MAX} 个字符"
    ID_CHARACTERS = (
        "must start with a letter or digit and hold only A-Z, a-z, 0-9, '.', '_' and '-'",
        "须以字母或数字开头，且只能包含字母、数字、点、下划线和连字符",
    )
    NAME_TOO_LONG = (
        f"must have at most {NAME_CHARACTERS_MAX} characters",
        f"最多 {NAME_CHARACTERS_MAX} 个字符",
    )
    NAME_CONTROL = "must not contain control or invisible characters", "不能包含控制字符或不可见字符"
    NAME_SEPARATOR = "must not contain '/' or '>'", "不能包含“/”或“>”"
    PERSONAL = (
        "looks like an identity-card or mobile number; use a number that is not personal data",
        "疑似身份证号或手机号，请改用不含个人信息的编号",
    )


def looks_personal(text: str) -> bool:
    """Whether the text holds what looks like a mainland identity-card number or mobile number.

    Identity card: 18 characters with a province, a date of birth and a valid check digit (GB 11643), or 15
    digits with a province and a date of birth. Mobile: 11 digits from 13 to 19, alone or after 86 or 0086, also
    parted as people part them (138-0013-8000). A longer run of digits is neither, a serial number that starts
    with a year is no identity card, and three digits before a date (138-20261122) are no mobile number.
    """
    if len(text) < MOBILE_DIGITS and text.isascii():
        return False
    text = unicodedata.normalize("NFKC", text)
    if _LONG_NUMBER.search(text) is None:
        return False
    return (
        _MOBILE.search(text) is not None
        or any(not _is_numbered_date(found) for found in _MOBILE_PARTED.finditer(text))
        or any(_is_identity_18(found[0]) for found in _IDENTITY_18.finditer(text))
        or any(_is_identity_15(found[0]) for found in _IDENTITY_15.finditer(text))
    )


def masked(text: str) -> str:
    """The text with the middle of every long number starred out, where it looks personal; else unchanged."""
    if not looks_personal(text):
        return text
    return _LONG_NUMBER.sub(
        lambda found: found[0][:3] + "*" * (len(found[0]) - 5) + found[0][-2:],
        unicodedata.normalize("NFKC", text),
    )


def normal_id(text: str) -> str:
    """The text as an identifier is stored: full-width forms made plain (NFKC), outer spaces removed."""
    return unicodedata.normalize("NFKC", text).strip()


def check_id(text: str) -> Flaw | None:
    """What is wrong with the text as an identifier of a person, household or record; None when nothing is."""
    if not text:
        return Flaw.BLANK
    if len(text) > ID_CHARACTERS_MAX:
        return Flaw.ID_TOO_LONG
    if _ID.fullmatch(text) is None:
        return Flaw.ID_CHARACTERS
    return Flaw.PERSONAL if looks_personal(text) else None


def all_plain(ids: Sequence[str]) -> bool:
    """Whether nothing is wrong with any of some identifiers, as far as one look tells: it does for all but few, and
    `check_id` for the rest."""
    lines = "\n".join(ids)
    return (
        (len(lines) <= ID_CHARACTERS_MAX or max(map(len, ids)) <= ID_CHARACTERS_MAX)
        and _PLAIN_IDS.fullmatch(lines) is not None
        and lines.count("\n") < len(ids)
    )


def new_number(command_id: str) -> str:
    """The number of what a command brings into being (a record, a visit, a reward …), from the command's id.

    In groups, because 32 hex digits may hold a mobile number by chance.
    """
    return "-".join((command_id[:8], command_id[8:16], command_id[16:24], command_id[24:]))


def normal_name(text: str) -> str:
    """The text as a name of a place or service is stored: composed (NFC), outer spaces removed."""
    return unicodedata.normalize("NFC", text).strip()


def check_name(text: str) -> Flaw | None:
    """What is wrong with the text as the name of a community, a grid or a service; None when nothing is."""
    if not text:
        return Flaw.BLANK
    if len(text) > NAME_CHARACTERS_MAX:
        return Flaw.NAME_TOO_LONG
    if has_control(text):
        return Flaw.NAME_CONTROL
    if any(separator in text for separator in NAME_SEPARATORS):
        return Flaw.NAME_SEPARATOR
    return Flaw.PERSONAL if looks_personal(text) else None


def has_control(text: str) -> bool:
    """Whether the text holds controls, line ends, invisible or direction marks, or lone surrogates."""
    # Private-use and unassigned code points are fine: older fonts and Unicode tables keep rare names there.
    return any(unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in text)


def _is_identity_18(text: str) -> bool:
    weighted = sum(weight * int(digit) for weight, digit in zip(_IDENTITY_WEIGHTS, text, strict=False))
    return (
        _PROVINCE.match(text) is not None
        and _is_date(text[6:10], text[10:12], text[12:14])
        and _IDENTITY_CHECK_DIGITS[weighted % 11] == text[17].upper()
    )


def _is_identity_15(text: str) -> bool:
    return _PROVINCE.match(text) is not None and _is_date("19" + text[6:8], text[8:10], text[10:12])


def _is_numbered_date(found: re.Match[str]) -> bool:
    """Whether it is a number of three digits, a mark, and a date, as records are often numbered."""
    date_of_eight = found["gap"].strip() and not found["late_gap"]
    middle, end = found["middle"], found["end"]
    return bool(date_of_eight) and _is_date(middle, end[:2], end[2:])


def _is_date(year: str, month: str, day: str) -> bool:
    try:
        return 1900 <= date(int(year), int(month), int(day)).year < 2100
    except ValueError:
        return False


def _fit_id(text: str) -> str:
    normal = normal_id(text)
    return _fit(normal, check_id(normal))


def _fit_name(text: str) -> str:
    normal = normal_name(text)
    return _fit(normal, check_name(normal))


def _fit(text: str, flaw: Flaw | None) -> str:
    if flaw is not None:
        raise PydanticCustomError("identifier", "{reason}", {"reason": flaw.value, "reason_zh": flaw.zh})
    return text


_ID_SCHEMA = WithJsonSchema(
    {"type": "string", "minLength": 1, "maxLength": ID_CHARACTERS_MAX, "pattern": f"^{_ID.pattern}$"}
)
_NAME_SCHEMA = WithJsonSchema({"type": "string", "minLength": 1, "maxLength": NAME_CHARACTERS_MAX})

PersonId = Annotated[str, AfterValidator(_fit_id), _ID_SCHEMA]
"""The number of a volunteer, a recipient or a member of staff."""
HouseholdId = Annotated[str, AfterValidator(_fit_id), _ID_SCHEMA]
RecordId = Annotated[str, AfterValidator(_fit_id), _ID_SCHEMA]
PlaceName = Annotated[str, AfterValidator(_fit_name), _NAME_SCHEMA]
"""The name of a community, or of one level of its grids."""
ServiceName = Annotated[str, AfterValidator(_fit_name), _NAME_SCHEMA]
