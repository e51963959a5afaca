"""The rule of the gate: what a file may say, where it is kept, who hears of it."""

import pytest

from flows.gate.rule import GateRule, GateRuleError, keep_rule, read_rule, rule_of
from infra.ledger import Ledger
from serving.model_references import UnknownModel

CASES = [
    ("max_ap_loss = 0.1", "unknown key 'max_ap_loss'"),
    ("min_positive = 10", "unknown key 'min_positive'; did you mean 'min_positives'?"),
    ("min_rows = 0", "min_rows: Input should be greater than or equal to 1, got 0."),
    ("min_rows = true", "min_rows: Input should be a valid integer, got True."),
    ("min_positives = 'many'", "min_positives: Input should be a valid integer"),
    ("confidence = 1.0", "confidence: Input should be less than 1, got 1.0."),
    ("min_average_precision_gain = -2.0", "min_average_precision_gain: Input should be greater"),
    ("min_objective_gain = nan", "min_objective_gain: Input should be"),
    ("min_caught_gain = 1.5", "min_caught_gain: Input should be less"),
    ("max_calibration_slope_deviation = 0.0", "max_calibration_slope_deviation: Input should be"),
    ("max_alert_volume_ratio = inf", "max_alert_volume_ratio: Input should be a finite number"),
    ("max_segment_loss = -0.1", "max_segment_loss: Input should be greater"),
    ("min_segment_positives = 0", "min_segment_positives: Input should be greater"),
    ("max_latency_ratio = 0", "max_latency_ratio: Input should be greater"),
    ("max_disagreement = 20", "max_disagreement: Input should be less"),
    ("min_shadow_decisions = 0", "min_shadow_decisions: Input should be greater"),
    ("on_pass = 'ask'", "on_pass: Input should be 'promote' or 'person', got 'ask'."),
    ("approvals = 3", "approvals: Input should be less than or equal to 2, got 3."),
    ("approvals", "is not valid TOML"),
]


@pytest.mark.parametrize(("text", "message"), CASES)
def test_a_bad_rule_is_one_line_that_names_the_key(tmp_path, text, message) -> None:
    path = tmp_path / "rule.toml"
    path.write_text(text)

    with pytest.raises(GateRuleError) as caught:
        read_rule(path)

    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rule_that_cannot_be_read_is_one_line(tmp_path) -> None:
    binary = tmp_path / "rule.toml"
    binary.write_bytes(b"\xff\xfe")

    with pytest.raises(GateRuleError, match="not UTF-8"):
        read_rule(binary)
    with pytest.raises(GateRuleError, match="No such file"):
        read_rule(tmp_path / "none.toml")


def test_what_a_file_leaves_out_keeps_its_default(tmp_path) -> None:
    path = tmp_path / "rule.toml"
    path.write_text('min_positives = 20\non_pass = "promote"\n')

    assert read_rule(path) == GateRule(min_positives=20, on_pass="promote")


def test_a_rule_holds_for_its_model_and_the_ledger_hears_of_a_change_once(till, tmp_path) -> None:
    path = tmp_path / "rule.toml"
    path.write_text("# two of us\napprovals = 1\n")

    assert rule_of(till.settings, "till") == GateRule()
    for _ in range(2):
        keep_rule(till.settings, "till", path, actor="ana", reason="two of us")

    assert rule_of(till.settings, "till") == GateRule(approvals=1)
    assert (till.home / "gates/till.toml").read_text() == path.read_text()
    told = [e for e in Ledger(till.settings.database).entries("till") if e.event == "gate_rule_set"]
    assert [(entry.actor, entry.details["rule"]["approvals"]) for entry in told] == [("ana", 1)]


def test_a_bad_rule_changes_nothing(till, tmp_path) -> None:
    path = tmp_path / "rule.toml"
    path.write_text("approvals = 9")

    with pytest.raises(GateRuleError):
        keep_rule(till.settings, "till", path, actor="ana", reason="x")

    assert not (till.home / "gates").exists()
    assert Ledger(till.settings.database).entries() == []


@pytest.mark.parametrize("name", ["nope", "../till"])
def test_a_rule_is_kept_for_a_model_that_there_is(till, tmp_path, name) -> None:
    path = tmp_path / "rule.toml"
    path.write_text("approvals = 1")

    with pytest.raises(UnknownModel):
        keep_rule(till.settings, name, path, actor="ana", reason="x")

    assert not (till.home / "gates").exists()
