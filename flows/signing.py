"""The key that signs what this state folder releases, made when it is first needed."""

import logging

from infra.ledger import open_ledger
from infra.settings import Settings
from infra.signing import KeyUnusable, SigningKey, read_signing_key
from serving.model_store import ModelStore

logger = logging.getLogger(__name__)


def signing_key(settings: Settings, store: ModelStore, *, actor: str) -> SigningKey:
    """Return the signing key of the state folder; its first use creates it.

    From then on unsigned bundles and policies are refused here. So those that lie here already
    are signed first, then the public key is published, then the ledger hears of it.

    Raises:
        KeyUnusable: If the key cannot be read, or this machine would not trust its signatures.
    """
    key = read_signing_key(settings.keys)
    if key is None:
        SigningKey.generate().write_private(settings.keys)
        # Read back: another process may have been first.
        key = read_signing_key(settings.keys)
        assert key is not None
    if not key.public_path(settings.keys).is_file():
        _publish(key, settings, store, actor=actor)
    _require_trust(key, store)
    return key


def _publish(key: SigningKey, settings: Settings, store: ModelStore, *, actor: str) -> None:
    adopted = store.sign_unsigned(key)
    key.write_public(settings.keys)
    open_ledger(settings).append(
        "key_created",
        key.key_id,
        actor=actor,
        reason="first signature in this state folder",
        details={"public_key": key.public.hex(), "signed": adopted},
    )
    logger.info("signing key created", extra={"key_id": key.key_id, "signed": len(adopted)})


def _require_trust(key: SigningKey, store: ModelStore) -> None:
    trusted = store.trusted.key_ids
    if key.key_id not in trusted:
        raise KeyUnusable(
            f"This state folder signs with key {key.key_id}, but WHITECROW_VERIFY_KEY trusts "
            f"{', '.join(trusted)} only: what is signed here would be refused here. "
            f"Add {key.public.hex()} to it."
        )
