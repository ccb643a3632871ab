"""What may enter the journal as an identifier or a name, and what must not."""

import re
import unicodedata
from datetime import date

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from domain.identifiers import (
    ID_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    Flaw,
    HouseholdId,
    PersonId,
    PlaceName,
    RecordId,
    ServiceName,
    all_plain,
    check_id,
    check_name,
    looks_personal,
    masked,
    new_number,
    normal_id,
    normal_name,
)

IDENTITY_18 = "11010519491231002X"  # the standard's own example (GB 11643)
IDENTITY_15 = "110105491231002"
MOBILE = "13800138000"


class Registration(BaseModel):
    person: PersonId
    household: HouseholdId = "H1"
    record: RecordId = "R1"
    community: PlaceName = "新竹社区"
    service: ServiceName = "助餐"


@pytest.mark.parametrize("text", ["1", "V-0001", "a.b_c-d", "R2026-000123", "12345678901", "A" * ID_CHARACTERS_MAX])
def test_letters_digits_and_inner_marks_make_an_identifier(text: str) -> None:
    assert check_id(text) is None


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ("", Flaw.BLANK),
        ("A" * (ID_CHARACTERS_MAX + 1), Flaw.ID_TOO_LONG),
        ("-1", Flaw.ID_CHARACTERS),
        ("张三", Flaw.ID_CHARACTERS),
        ("V 1", Flaw.ID_CHARACTERS),
        ("V1\n", Flaw.ID_CHARACTERS),
        ("=V1", Flaw.ID_CHARACTERS),
        ("V\x001", Flaw.ID_CHARACTERS),
        ("V٣", Flaw.ID_CHARACTERS),
        (IDENTITY_18, Flaw.PERSONAL),
        ("V-" + IDENTITY_18.lower(), Flaw.PERSONAL),
        (IDENTITY_15, Flaw.PERSONAL),
        (MOBILE, Flaw.PERSONAL),
        ("86" + MOBILE, Flaw.PERSONAL),
        ("V." + MOBILE, Flaw.PERSONAL),
    ],
)
def test_an_identifier_is_refused_with_its_flaw(text: str, flaw: Flaw) -> None:
    assert check_id(text) is flaw


def test_every_flaw_is_told_in_both_languages() -> None:
    for flaw in Flaw:
        assert flaw.isascii()
        assert re.search("[\u4e00-\u9fff]", flaw.zh)


@pytest.mark.parametrize(
    "text",
    [
        "20261122000",  # a date and a serial number, as long as a mobile number
        "202611220000001",  # as long as an old identity number
        "202611220000000123",  # as long as a new one
        "110105194912310021",  # a wrong check digit
        "110105194913310025",  # no such month
        "450103202613990001",
        "1380013800",  # a digit short
        "138001380001",  # a digit long
        "0771-5551234",
        "2026-11-22-0001",
        "2026.10.15/0001",
        "19991231-0001",
        "150-20261122",  # a number of a place and a date
        "150-20261122-0001",
        "2026-150-0001",
        "1-3-8-0-0-1-3-8-0-0-0",  # not how anybody parts a number
        "",
    ],
)
def test_serial_numbers_are_not_taken_for_personal(text: str) -> None:
    assert not looks_personal(text)


@pytest.mark.parametrize(
    "text",
    [
        "联系１３８００１３８０００",
        "138 0013 8000",
        "+86 13800138000",
        f"({IDENTITY_18})",
        "138-0013-8000",
        "138.0013.8000",
        "１３８－００１３－８０００",
        "138—0013—8000",
        "138/0013/8000",
        "138 - 0013 - 8000",
        "138-00138000",
        "1380013-8000",
        "+86-138-0013-8000",
        "(86)138-0013-8000",
        "V-138_0013_8000",
        "138 20261122",
    ],
)
def test_personal_numbers_are_found_in_text_and_in_full_width(text: str) -> None:
    assert looks_personal(text)


@given(st.dates(date(1900, 1, 1), date(2026, 1, 1)), st.integers(0, 999))
def test_every_valid_identity_number_is_refused(born: date, serial: int) -> None:
    digits = f"450103{born:%Y%m%d}{serial:03}"
    check = "10X98765432"[sum(pow(2, 17 - i) * int(digit) for i, digit in enumerate(digits)) % 11]
    assert check_id(digits + check) is Flaw.PERSONAL


@given(st.integers(13_000_000_000, 19_999_999_999))
def test_every_mobile_number_is_refused(number: int) -> None:
    assert check_id(str(number)) is Flaw.PERSONAL
    assert check_name(f"服务{number}") is Flaw.PERSONAL


IDS = st.lists(
    st.from_regex(r"[A-Za-z0-9._\n-]{0,6}([0-9]{1,12}[._\n-]{0,2}){0,2}", fullmatch=True), min_size=1, max_size=5
)


@given(IDS)
@example(["R1", "\nR2"])
@example(["R1\nR2"])
@example(["R1\n"])
@example([""])
@example(["R1", ""])
@example(["-R1"])
@example(["R2025-00183401"])
@example([MOBILE[:6] + "-", MOBILE[6:]])
@example(["R" * ID_CHARACTERS_MAX, "R1"])
@example(["R" * (ID_CHARACTERS_MAX + 1)])
def test_nothing_is_wrong_with_any_of_what_is_plain(ids: list[str]) -> None:
    assert not all_plain(ids) or [*map(check_id, ids)] == [None] * len(ids)


def test_the_identifiers_that_the_books_of_a_district_have_are_plain() -> None:
    assert all_plain(["R2025-001834", "V03726", "H01355", "H03780", "S3103"])
    assert all_plain(["a.b_c-9"])


MARKS = st.sampled_from(["-", "－", "–", "—", "‐", "−", ".", "．", "·", "/", "／", "_", " ", " - ", "--", "\u3000"])


@given(st.integers(13_000_000_000, 19_999_999_999).map(str), MARKS, MARKS, st.sampled_from(["", "86", "+86", "0086-"]))
def test_every_mobile_number_is_refused_however_it_is_parted(number: str, one: str, other: str, country: str) -> None:
    parted = country + number[:3] + one + number[3:7] + other + number[7:]
    assert looks_personal(parted)
    assert number[3:9] not in re.sub("[^0-9]", "", masked(parted))
    identifier = normal_id(parted)
    assert check_id(identifier) in (Flaw.PERSONAL, Flaw.ID_CHARACTERS)


@given(
    st.dates(date(2000, 1, 1), date(2099, 12, 31)),
    st.sampled_from(["%Y-%m-%d", "%Y.%m.%d", "%Y/%m/%d", "%d-%m-%Y", "%Y%m%d", "%Y-%m", "%Y"]),
    st.sampled_from(["", "R-", "R", "150-", "199/", "15."]),
    st.sampled_from(["-", "/", ".", "_"]),
    st.integers(0, 999_999),
    st.sampled_from([3, 4, 5, 6]),
)
def test_no_date_with_a_serial_number_is_taken_for_personal(
    day: date, form: str, prefix: str, mark: str, serial: int, digits: int
) -> None:
    assume((form, digits) != ("%Y", 4) or not prefix[:1].isdigit())  # 150-2026-0001 is how mobile numbers are written
    assert not looks_personal(f"{prefix}{day:{form}}{mark}{serial % 10**digits:0{digits}}")


# Some commands number what they bring by adding to their own id; digits alone are the likeliest to look personal.
@given(
    st.text("0123456789abcdef", min_size=32, max_size=32) | st.text("0123456789", min_size=32, max_size=32),
    st.none() | st.integers(0, 99_999),
)
@example("01a217672bf6782db15543091564ce18", None)
@example("0" * 24 + "a1380013", 8000)
def test_no_number_that_a_command_gives_is_taken_for_personal(command_id: str, row: int | None) -> None:
    assert check_id(new_number(command_id if row is None else f"{command_id}-{row}")) is None


def test_masking_hides_the_middle_of_personal_numbers_only() -> None:
    assert masked(f"电话{MOBILE}") == "电话138******00"
    assert IDENTITY_18[4:14] not in masked(IDENTITY_18)
    assert masked("202611220000001") == "202611220000001"


@given(st.text(max_size=80))
@example("ﷺ" * 10)
@example("\ud800")
def test_any_text_is_a_valid_identifier_or_has_a_flaw(text: str) -> None:
    identifier = normal_id(text)
    assert normal_id(identifier) == identifier
    flaw = check_id(identifier)
    assert (flaw is None) == (
        re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", identifier) is not None and not looks_personal(identifier)
    )


@given(st.text(max_size=60))
@example("\ud800")
@example("한")
def test_any_text_is_a_valid_name_or_has_a_flaw(text: str) -> None:
    name = normal_name(text)
    if check_name(name) is None:
        assert 1 <= len(name) <= NAME_CHARACTERS_MAX
        assert unicodedata.is_normalized("NFC", name)
        assert name == name.strip()
        assert not set("/／>＞\n\t\0") & set(name)
        assert name.encode()


@given(st.text())
def test_looking_for_and_masking_personal_numbers_never_fails(text: str) -> None:
    assert looks_personal(text) or masked(text) == text


@pytest.mark.parametrize("name", ["新竹社区", "第3网格", "3-2元网格", "𠮷祥里", "A" * NAME_CHARACTERS_MAX, "助浴 上门"])
def test_names_of_places_and_services_are_accepted(name: str) -> None:
    assert check_name(name) is None


@pytest.mark.parametrize(
    ("name", "flaw"),
    [
        ("", Flaw.BLANK),
        ("长" * (NAME_CHARACTERS_MAX + 1), Flaw.NAME_TOO_LONG),
        ("新竹\n社区", Flaw.NAME_CONTROL),
        ("新竹\u200b社区", Flaw.NAME_CONTROL),
        ("新竹\u202e社区", Flaw.NAME_CONTROL),
        ("新竹\0", Flaw.NAME_CONTROL),
        ("一/二", Flaw.NAME_SEPARATOR),
        ("一＞二", Flaw.NAME_SEPARATOR),
        (f"{MOBILE}", Flaw.PERSONAL),
    ],
)
def test_a_name_is_refused_with_its_flaw(name: str, flaw: Flaw) -> None:
    assert check_name(name) is flaw


def test_commands_hold_identifiers_and_names_in_their_normal_form() -> None:
    registration = Registration(person=" Ｖ００１ ", community=" e\u0301 ")
    assert registration.person == "V001"
    assert registration.community == "é"


def test_commands_refuse_what_the_reader_refuses_with_the_same_reason() -> None:
    with pytest.raises(ValidationError) as refused:
        Registration(person=MOBILE, community="一/二")
    person, community = refused.value.errors()
    assert (person["loc"], person["msg"]) == (("person",), Flaw.PERSONAL.value)
    assert person["ctx"]["reason_zh"] == Flaw.PERSONAL.zh
    assert (community["loc"], community["msg"]) == (("community",), Flaw.NAME_SEPARATOR.value)


def test_the_schema_of_an_identifier_tells_its_pattern() -> None:
    schema = Registration.model_json_schema()["properties"]
    assert re.fullmatch(schema["person"]["pattern"], "V-1")
    assert schema["community"]["maxLength"] == NAME_CHARACTERS_MAX
