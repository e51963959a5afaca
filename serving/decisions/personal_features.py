"""Which features tell what nobody may read: those of personal columns, and what is made of them."""

import re

from features.contract import Contract
from features.velocity import velocity_plan
from serving.velocity_words import velocity_columns


def personal_features(contract: Contract) -> frozenset[str]:
    """Return the features that tell a personal column's value, or are computed from it.

    How often an entity was seen tells nothing of who it is.
    """
    personal = set(contract.columns.pii)
    told = set(personal)
    for name, expression in contract.derived.items():
        words = set(re.findall(r"\w+", expression))
        if any(column in words or f'"{column}"' in expression for column in personal):
            told.add(name)
    of_columns = velocity_columns(contract)
    for feature in velocity_plan(contract).features:
        if (of_columns[feature.name] - set(feature.entity)) & personal:
            told.add(feature.name)
    return frozenset(told)
