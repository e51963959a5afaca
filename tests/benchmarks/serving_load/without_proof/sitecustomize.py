"""Takes the digests and the anchors out of a service: for bench_audit.py, which compares."""

import msgspec

from serving.decisions import anchoring, group_writer


def _unsealed(draft, previous):
    return msgspec.structs.replace(draft, digest=bytes(32))


group_writer.sealed_group = _unsealed
anchoring.Anchoring.anchor = lambda self, *, at_once=False: None
