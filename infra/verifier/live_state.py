"""What is live, and who may ask: rows that can be changed, held against the ledger."""

from collections.abc import Sequence
from typing import Any

from infra.verifier.findings import Findings
from infra.verifier.source import Source
from infra.verifier.told import Told

_LIVE = "SELECT name, alias, model_version, policy_version, ledger_sequence FROM live"
_KEYS = (
    "SELECT key_id, name, scopes, secret_sha256, requests_per_second, rows_per_second, created_at, "
    "created_by, expires_at, revoked_at FROM api_keys"
)
_KEY_COLUMNS = (
    "key_id", "name", "scopes", "secret_sha256", "requests_per_second", "rows_per_second",
    "created_at", "created_by", "expires_at", "revoked_at",
)  # fmt: skip


def state_rows(state: Source) -> tuple[list[Sequence[Any]], list[Sequence[Any]]]:
    """Return the live records and the API keys; read before the ledger, which is told first."""
    return list(state.rows(_LIVE)), list(state.rows(_KEYS))


def check_live(rows: Sequence[Sequence[Any]], told: Told, findings: Findings) -> None:
    """Hold live records against the changes that the ledger tells of."""
    champions = set()
    if rows and not told.intents and not told.bundles:
        # What was released elsewhere, such as a package: its ledger is there.
        findings.note("This ledger tells of no release: live records are held against nothing.")
        return
    for name, alias, model_version, policy_version, sequence in rows:
        pair = {"model_version": model_version, "policy_version": policy_version}
        where = f"{name}@{alias}"
        if alias == "champion":
            champions.add(name)
            problem = _champion_problem(told, name, pair, sequence)
        else:
            problem = _waiting_problem(told, name, pair, sequence)
        if alias not in ("champion", "challenger"):
            problem = "there is no such alias"
        if problem is not None:
            findings.broken("live", where, problem)
    for name in told.last_change.keys() - champions:
        findings.broken("live", f"{name}@champion", "the ledger tells of one, and it is gone")
    findings.count("live records", len(rows))


def _champion_problem(told: Told, name: str, pair: dict[str, Any], sequence: Any) -> str | None:
    subject, details = told.intents.get(sequence, (None, {}))
    if subject != name or details.get("after") != pair:
        return f"ledger entry {sequence} does not make {_pair_words(pair)} live"
    if told.last_change.get(name, sequence) > sequence:
        return f"ledger entry {told.last_change[name]} made something else live after it"
    return None


def _waiting_problem(told: Told, name: str, pair: dict[str, Any], sequence: Any) -> str | None:
    subject, details = told.waiting.get(sequence, (None, {}))
    if subject != name or {key: details.get(key) for key in pair} != pair:
        return f"ledger entry {sequence} does not tell of {_pair_words(pair)}"
    return None


def _pair_words(pair: dict[str, Any]) -> str:
    return f"version {pair['model_version']} with policy {pair['policy_version']}"


def check_keys(rows: Sequence[Sequence[Any]], told: Told, findings: Findings) -> None:
    """Hold API keys against those that the ledger made and revoked."""
    for row in rows:
        key = dict(zip(_KEY_COLUMNS, row, strict=True))
        problem = _key_problem(key, told)
        if problem is not None:
            findings.broken("key", f"API key {key['key_id']}", problem)
    findings.count("API keys", len(rows))


def _key_problem(key: dict[str, Any], told: Told) -> str | None:
    details = told.keys.get(key["key_id"])
    if details is None:
        return "the ledger does not tell of its making"
    stored = key | {"scopes": sorted(str(key["scopes"]).split())}
    # What an older release did not write down cannot be compared.
    if any(name in details and details[name] != value for name, value in stored.items()):
        return "it is not as the ledger tells of its making"
    moments = told.revoked.get(key["key_id"], [])
    if (key["revoked_at"] is not None) != bool(moments):
        what = "opens doors again" if moments else "was not revoked by anybody"
        return f"it {what}, by the ledger"
    if moments and key["revoked_at"] not in moments and None not in moments:
        return "it was revoked at another moment, by the ledger"
    return None
