"""The rules of the risk signals say, in both languages, by which numbers they go."""

import re

import pytest

from domain.signals import RULES, SCOPE_EN, SCOPE_ZH, Rule


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_names_every_parameter_in_both_languages(rule: Rule) -> None:
    for text, template in ((rule.zh, rule.zh_template), (rule.en, rule.en_template)):
        assert set(re.findall(r"{(\w+)}", template)) == rule.parameters.keys()
        assert not re.search(r"[{}]", text)
        assert all(str(value) in text for value in rule.parameters.values())
    assert re.search("[一-鿿]", rule.zh)
    assert rule.en.isascii()


def test_a_rule_is_found_by_its_name() -> None:
    assert all(rule.name == name for name, rule in RULES.items())


def test_a_signal_is_said_to_be_no_finding() -> None:
    assert "不是结论" in SCOPE_ZH
    assert "no finding" in SCOPE_EN
