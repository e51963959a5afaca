"""What no policy can be made of: one clear line, the exit code, the released policy as it was."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from balancing.calibration.policy import Policy
from infra.ledger import Ledger
from infra.settings import Settings
from infra.signing import SigningKey
from serving.model_store import ModelStore

pytestmark = pytest.mark.xdist_group("trained")

IS_FRAUD = pl.col("TX_FRAUD") == 1


@pytest.fixture
def home(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained.home, tmp_path / "home"))


@pytest.fixture
def refused(whitecrow, home, tmp_path):
    """Recalibrates in vain and returns the one line; nothing may have come of it."""

    def run(data, *more, policy: str | None = None, code: int = 2, reference="stream") -> str:
        if isinstance(data, pl.DataFrame):
            data.write_parquet(tmp_path / "data.parquet")
            data = tmp_path / "data.parquet"
        if policy is not None:
            (tmp_path / "policy.toml").write_text(policy)
            more = (*more, "--policy", tmp_path / "policy.toml")
        before = _released(home)
        done = whitecrow(home, "recalibrate", reference, data, "--reason", "x", "--json", *more)
        assert done.code == code, done.err
        assert done.json == {"error": {"message": done.error}}
        assert _released(home) == before
        return done.error

    return run


def _released(home: Path) -> dict:
    """Every policy, its signature, what is live, and what the ledger says of policies."""
    store = ModelStore(home)
    files = sorted((home / "policies").rglob("*.json"))
    return {
        "files": {str(path): path.read_bytes() for path in files},
        "live": (store.live.all(), store.live.all(alias="challenger")),
        "events": [e.event for e in Ledger(home / "whitecrow.db").entries("stream")],
    }


@pytest.fixture(scope="module")
def recent(trained, frame) -> pl.DataFrame:
    """Rows after what the network has seen, old enough to have a label."""
    cut_off = trained.store.bundle("stream", "1").manifest.fitted_until
    is_known = pl.col("TX_DATETIME") + timedelta(days=14) <= frame["TX_DATETIME"].max()
    return frame.filter((pl.col("TX_DATETIME") > cut_off) & is_known)


@pytest.fixture(scope="module")
def newest(frame) -> pl.DataFrame:
    """The last row of the stream: the moment whose knowledge counts."""
    return frame.filter(pl.col("TX_DATETIME") == frame["TX_DATETIME"].max())


def _as(rows: pl.DataFrame, label: int) -> pl.DataFrame:
    return rows.with_columns(TX_FRAUD=pl.lit(label, dtype=rows.schema["TX_FRAUD"]))


def test_no_positive_says_how_many_are_needed_and_for_what(refused, recent, newest) -> None:
    line = refused(pl.concat([recent.filter(~IS_FRAUD), _as(newest, 0)]))

    assert line.startswith("The calibrator and the thresholds need at least 10 positives; among")
    assert "there are 0 of" in line
    assert "A label takes 14d to be known." in line


def test_too_few_positives_are_counted(refused, recent, newest) -> None:
    few = pl.concat([recent.filter(IS_FRAUD).head(9), recent.filter(~IS_FRAUD), newest])

    assert "there are 9 of" in refused(few.sort("TX_DATETIME"))


def test_no_negatives(refused, recent, newest) -> None:
    line = refused(pl.concat([recent.filter(IS_FRAUD), _as(newest, 1)]))

    assert "need at least 10 negatives" in line


def test_rows_the_network_has_seen(refused, trained, frame) -> None:
    cut_off = trained.store.bundle("stream", "1").manifest.fitted_until

    line = refused(frame.filter(pl.col("TX_DATETIME") <= cut_off))

    assert line.startswith("No row of data.parquet may calibrate stream:1: the newest")
    assert "Bring newer rows" in line


def test_a_table_shorter_than_the_longest_window(refused, recent) -> None:
    begins = recent["TX_DATETIME"].min()

    line = refused(recent.filter(pl.col("TX_DATETIME") < begins + timedelta(days=5)))

    assert "bring more history" in line


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ('review = {objective = "cost", review_cost = -1}', "review.review_cost"),
        (
            'review = {objective = "cost", review_cost = 1, friction_cost = -0.5}',
            "review.friction_cost",
        ),
        ('review = {objective = "max_fpr"}', "review.max_fpr: Field required"),
        ('review = {objective = "max_recall"}', "review: "),
        ("review = 5", "review: "),
        ('segments = "ENTRY_MODE"', "segments: "),
        ("threshold = 0.5", "threshold: Extra inputs are not permitted"),
        ('[post_processing]\nkind = "magic"', "post_processing.kind"),
        ('[post_processing]\nkind = "class_dependent"\ntau = 1', "takes gamma, not tau"),
        ('[post_processing]\nkind = "class_dependent"\ngamma = -1', "post_processing.gamma"),
        ("[prior]\nbase_rate = 1.5", "prior.base_rate"),
        ("[prior]\nbase_rate = 0.01\nestimate = true", "either base_rate"),
        ("[prior]", "either base_rate"),
        ("exploration = {rate = 0.7}", "exploration.rate: Input should be less than or equal"),
        ("exploration = {rate = 0.1, max = 5}", "exploration.max: Extra inputs"),
        ("exploration = true", "exploration: "),
        ("review = ", "is not valid TOML"),
    ],
)
def test_a_policy_file_that_is_wrong_names_the_key(refused, stream, policy, said) -> None:
    line = refused(stream, policy=policy)

    assert "policy.toml" in line
    assert said in line


def test_a_policy_file_that_is_not_there(refused, stream, tmp_path) -> None:
    line = refused(stream, "--policy", tmp_path / "nope.toml")

    assert line == f"Cannot read {tmp_path / 'nope.toml'}: No such file or directory."


def test_an_alert_budget_above_the_traffic(refused, stream) -> None:
    line = refused(stream, policy='review = {objective = "alert_budget", alerts_per_day = 1e6}')

    assert "alerts_per_day must be below the traffic of" in line


def test_a_segment_column_that_the_contract_does_not_know(refused, stream, recent) -> None:
    for data in (stream, recent):
        assert "'SHOE_SIZE'" in refused(data, policy='segments = ["SHOE_SIZE"]')


def test_tau_normalisation_of_several_members(refused, stream) -> None:
    line = refused(stream, policy='[post_processing]\nkind = "tau_normalisation"')

    assert "needs a network with a single head" in line


def test_a_base_rate_without_unlabelled_rows(refused, stream) -> None:
    line = refused(stream, policy="[prior]\nestimate = true")

    assert "reads the base rate off rows without labels" in line


def test_a_base_rate_of_too_few_rows_is_an_answer_not_a_mistake(refused, frame) -> None:
    line = refused(frame.slice(1), policy="[prior]\nestimate = true", code=1)

    assert "unlabelled rows hold about" in line


@pytest.mark.parametrize("reference", ["nope", "stream:9", "stream@latest"])
def test_a_reference_to_nothing(refused, stream, reference) -> None:
    refused(stream, reference=reference)


def test_an_anchor_that_is_not_there(refused, stream) -> None:
    assert refused(stream, "--anchor", "7") == "stream has no policy 7 (there are: 1)."


def test_a_table_that_is_not_there(refused, tmp_path) -> None:
    assert "There is no file" in refused(tmp_path / "nope.parquet")


def test_a_moment_that_is_none(refused, stream) -> None:
    assert "--as-of" in refused(stream, "--as-of", "yesterday")


def test_kept_rows_that_were_changed(refused, home, stream) -> None:
    path = home / "calibration" / "stream" / "1" / "calibration.parquet"
    frame = pl.read_parquet(path)
    frame.with_columns(label=pl.lit(1, dtype=pl.Int8)).write_parquet(path)

    assert "calibration.parquet is missing or not as it was written" in refused(stream)


def test_a_policy_made_for_another_model_is_not_promoted(whitecrow, home) -> None:
    store = ModelStore(home)
    content = store.policy("stream", "1").model_dump() | {"model_sha256": "f" * 64}
    del content["policy_id"]
    store.add_policy("stream", Policy.seal(**content), key=_key(home))
    before = _released(home)

    done = whitecrow(home, "promote", "stream:1", "--policy", "2", "--reason", "x", "--json")

    assert done.code == 2
    assert "was made for model ffffffffffff" in done.error
    assert _released(home) == before


def test_a_policy_that_is_not_there_is_not_promoted(whitecrow, home) -> None:
    done = whitecrow(home, "promote", "stream:1", "--policy", "7", "--reason", "x", "--json")

    assert done.code == 2
    assert done.error == "stream has no policy 7 (there are: 1)."


def test_what_the_ledger_cannot_hold_is_taken_back(refused, home, stream, monkeypatch) -> None:
    append = Ledger.append

    def full(self, event, *arguments, **details):
        if event == "policy_created":
            raise OSError(28, "No space left on device")
        return append(self, event, *arguments, **details)

    monkeypatch.setattr(Ledger, "append", full)

    assert "The disk is full" in refused(stream)
    assert ModelStore(home).policy_versions("stream") == ["1"]


def _key(home: Path) -> SigningKey:
    from infra.signing import read_signing_key

    key = read_signing_key(Settings(home=home).keys)
    assert key is not None
    return key


@pytest.fixture
def score(whitecrow, home, stream, tmp_path):
    """Scores with the live model; returns the exit code and the one line, if any."""

    def run() -> tuple[int, str]:
        out = tmp_path / "scored.parquet"
        done = whitecrow(home, "score", stream, "-m", "stream", "-o", out, "--json")
        return done.code, done.error if done.code else ""

    return run


def _reseal(path: Path) -> None:
    """Change a policy so that its own hash fits again, as one who knows the format could."""
    content = json.loads(path.read_text())
    content["thresholds"]["review"]["threshold"] *= 0.5
    del content["policy_id"]
    content["golden"]["decision"] = np.zeros(len(content["golden"]["decision"]), int).tolist()
    path.write_text(Policy.seal(**content).to_json() + "\n")


def test_a_policy_that_was_changed_and_hashed_again_is_refused(score, home) -> None:
    _reseal(home / "policies" / "stream" / "1.json")

    code, line = score()

    assert code == 2
    assert "1.json is not what key" in line


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "1.json is not signed"),
        (lambda path: path.write_text("{"), "1.json has a damaged signature"),
        (lambda path: path.write_text(path.read_text().replace('"1"', '"2"')), ""),
    ],
    ids=["missing", "cut off", "statement only"],
)
def test_damage_to_a_signature(score, home, damage, said) -> None:
    damage(home / "policies" / "stream" / "1.json.sig")

    code, line = score()

    assert code == (2 if said else 0)
    assert said in line


def test_an_older_policy_under_a_newer_number_is_refused(whitecrow, home, stream) -> None:
    whitecrow(home, "recalibrate", "stream", stream, "--reason", "newer")
    folder = home / "policies" / "stream"
    for ending in ("json", "json.sig"):
        shutil.copyfile(folder / f"1.{ending}", folder / f"2.{ending}")

    done = whitecrow(home, "promote", "stream:1", "--reason", "x", "--json")

    assert done.code == 2
    assert "2.json is not what key" in done.error


def test_a_bundle_whose_signature_is_gone_is_refused(score, home) -> None:
    (home / "models" / "stream" / "1" / "bundle.sha256.sig").unlink()

    code, line = score()

    assert code == 2
    assert "Bundle" in line
    assert "is not signed" in line


def test_a_live_policy_that_does_not_verify_does_not_stand_in_the_way(
    whitecrow, home, stream
) -> None:
    _reseal(home / "policies" / "stream" / "1.json")

    done = whitecrow(home, "recalibrate", "stream", stream, "--reason", "mend", "--json")

    assert done.code == 0, done.err
    assert done.json["compared_with"] is None
    assert whitecrow(home, "promote", "stream:1", "--policy", "2", "--reason", "mend").code == 0


def test_only_pinned_keys_count_where_they_are_pinned(
    whitecrow, home, stream, score, monkeypatch
) -> None:
    key, stranger = _key(home), SigningKey.generate()

    monkeypatch.setenv("WHITECROW_VERIFY_KEY", key.public.hex())
    assert score() == (0, "")
    monkeypatch.setenv("WHITECROW_VERIFY_KEY", stranger.public.hex())
    code, line = score()
    assert code == 2
    assert f"signed by key {key.key_id}, which is not trusted here" in line
    before = _released(home)
    done = whitecrow(home, "recalibrate", "stream", stream, "--reason", "x", "--json")
    assert done.code == 2
    assert _released(home) == before


def test_what_was_made_before_there_was_a_key_is_signed_when_there_is(
    whitecrow, home, stream, score
) -> None:
    shutil.rmtree(home / "keys")
    for path in (*(home / "policies").rglob("*.sig"), *(home / "models").rglob("*.sig")):
        path.unlink()
    assert score() == (0, "")

    done = whitecrow(home, "recalibrate", "stream", stream, "--reason", "x", "--json")

    assert done.code == 0, done.err
    assert score() == (0, "")
    key_id = done.json["key_id"]
    (entry,) = Ledger(home / "whitecrow.db").entries(key_id)
    assert entry.event == "key_created"
    assert entry.details["signed"] == [
        "models/stream/1/bundle.sha256", "policies/stream/1.json",
    ]  # fmt: skip
