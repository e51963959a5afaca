"""The shop of the provenance tests, for passports."""

from tests.flows.provenance.conftest import built_shop, shop

__all__ = ["built_shop", "shop"]
