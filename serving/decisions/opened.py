"""What is personal of stored decisions, opened with their subjects' keys."""

import msgspec

from serving.decisions.record import Personal, StoredRecord
from serving.decisions.sealing import LogSecret, Unreadable, decrypt

_decode_personal = msgspec.msgpack.Decoder(Personal).decode


def personal_of(stored: StoredRecord, wrapped: bytes | None, secret: LogSecret) -> Personal | None:
    """Return what is personal of a stored decision; None where nothing is.

    Args:
        stored: A record.
        wrapped: Its subject's key, from the store.
        secret: Of the log.

    Raises:
        Unreadable: If the subject's key was destroyed, or is another log's.
    """
    if stored.sealed is None or stored.subject is None:
        return None
    if wrapped is None:
        raise Unreadable("The key of this decision's subject was destroyed.")
    key = secret.unwrapped(stored.subject, wrapped)
    return _decode_personal(decrypt(key, stored.sealed, stored.decision_id.encode()))
