"""The words in a column's name, and what they suggest."""

import re

_NAME_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^\W\d_]+")
# fmt: off
ID_WORDS = frozenset({
    "id", "uuid", "guid", "key", "ref", "reference", "index", "rowid", "number", "nr", "no",
})
MOMENT_WORDS = frozenset({
    "time", "date", "datetime", "timestamp", "at", "dt", "when", "ts", "day", "month", "d",
})
LATER_WORDS = frozenset({
    "reported", "report", "outcome", "closed", "updated", "paid", "resolved", "chargeback",
    "settled", "last", "birth", "dob", "expiry", "expires", "modified",
})
AMOUNT_WORDS = frozenset({
    "amount", "amt", "amnt", "price", "sum",
})
CODE_WORDS = frozenset({
    "code", "type", "category", "cat", "status", "grade", "kind", "channel", "mcc",
})
PROTECTED_WORDS = frozenset({
    "sex", "gender", "age", "race", "ethnicity", "religion", "marital", "marriage", "nationality",
    "disability",
})
PERSONAL_WORDS = frozenset({
    "email", "mail", "phone", "mobile", "ssn", "iban", "pan", "passport", "surname", "firstname",
    "lastname", "address", "street", "ip",
})
# fmt: on


def name_parts(name: str) -> set[str]:
    """Return the words in a column's name, in lower case.

    Example:
        >>> sorted(name_parts("merchantCountry_ID"))
        ['country', 'id', 'merchant']
    """
    return {part.lower() for part in _NAME_PARTS.findall(name)}
