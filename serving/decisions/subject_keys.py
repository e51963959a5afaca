"""The keys of data subjects as one writer knows them: from the database, or made where none are."""

from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from serving.decisions.sealing import LogSecret
from serving.decisions.store import LogTransaction

_MOST_KNOWN = 20_000


class SubjectKeys:
    """Keys by subject; for one thread.

    Args:
        secret: Wraps them for the database.
    """

    def __init__(self, secret: LogSecret) -> None:
        self._secret = secret
        self._known: dict[bytes, AESGCM] = {}
        self._n_destroyed = 0

    def of(self, transaction: LogTransaction, subjects: Iterable[bytes]) -> dict[bytes, AESGCM]:
        """Return the key of each subject, new where it has none.

        What is new counts from :meth:`learn` on: a transaction may come to nothing.

        Args:
            transaction: In which they are to seal something.
            subjects: Pseudonyms.
        """
        wanted = set(subjects)
        if not wanted:
            return {}
        n_destroyed = transaction.n_destroyed()
        if n_destroyed != self._n_destroyed or len(self._known) > _MOST_KNOWN:
            # What is sealed with a destroyed key would be lost, and not as anybody asked for.
            self._known.clear()
            self._n_destroyed = n_destroyed
        unknown = sorted(wanted - self._known.keys())
        keys = self._stored(transaction, unknown) if unknown else {}
        return {each: keys.get(each) or self._known[each] for each in wanted}

    def learn(self, keys: Mapping[bytes, AESGCM]) -> None:
        """Take keys as known: the transaction that asked for them has ended well."""
        self._known |= keys

    def _stored(self, transaction: LogTransaction, unknown: list[bytes]) -> dict[bytes, AESGCM]:
        stored = transaction.subject_keys(unknown)
        made = {each: self._secret.new_key(each) for each in unknown if each not in stored}
        if made:
            wrapped = {subject: wrapped for subject, (_, wrapped) in made.items()}
            stored |= transaction.add_subject_keys(wrapped)
        keys = {}
        for subject in unknown:
            key, wrapped_key = made.get(subject, (None, b""))
            # Another process may have been first.
            if key is None or wrapped_key != stored[subject]:
                key = self._secret.unwrapped(subject, stored[subject])
            keys[subject] = key
        return keys
