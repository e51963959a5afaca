"""``whitecrow audit anchor``: where ledger and decision log stand, signed, to be kept elsewhere."""

from typing import Any

from infra.ledger import open_ledger
from infra.settings import Settings
from infra.signing import read_signing_key
from serving.decisions.anchoring import anchor_statement, signature_of
from serving.decisions.opening import open_store


def external_anchor(settings: Settings) -> dict[str, Any]:
    """Return an anchor over the ledger's head and all writers' heads, as JSON values.

    The decision log is asked before the ledger, so that nothing is named that a reader of both
    cannot find.

    Raises:
        KeyUnusable: If there is a private key and it cannot be read.
        LogUnreachable: If the decision log does not answer.
        StateUnavailable: If the ledger does not.
    """
    key = read_signing_key(settings.keys)
    store = open_store(settings)
    try:
        heads = store.heads()
    finally:
        store.close()
    statement = anchor_statement(heads, open_ledger(settings).head())
    return {
        "statement": statement,
        "signature": signature_of(statement, key),
        "public_key": None if key is None else key.public.hex(),
    }
