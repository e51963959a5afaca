"""Loading a model the only way it may be served: hashes checked, golden rows scored again."""

import numpy as np
from numpy.typing import NDArray

from serving.bundle import BundleMismatch
from serving.model_references import ResolvedModel
from serving.model_store import ModelStore
from serving.refusals import RequestRefused
from serving.scorer import Scorer

LOGIT_TOLERANCE = 1e-5
"""Absolute up to a logit of 1, relative beyond it: float32 keeps seven digits, not places."""


def logit_difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest difference, as :data:`LOGIT_TOLERANCE` measures it; NaN if one is NaN.

    Shape:
        ``(n, 2)`` each, ``n`` at least 1.
    """
    scale = np.maximum(1.0, np.abs(expected.astype(np.float64)))
    return float(np.max(np.abs(found - expected.astype(np.float64)) / scale))


def load_scorer(store: ModelStore, reference: str, *, threads: int = 1) -> Scorer:
    """Return a verified scorer for a reference like ``NAME`` or ``NAME:3``.

    Raises:
        UnknownModel: If the reference means nothing in this store.
        BundleMismatch: If the bundle or the policy does not verify.
        SignatureRefused: If one is unsigned, signed by an unknown key, or changed since.
    """
    return load_resolved(store, store.resolve(reference), threads=threads)


def load_resolved(
    store: ModelStore, resolved: ResolvedModel, *, like: Scorer | None = None, threads: int = 1
) -> Scorer:
    """Return a verified scorer for a version and a policy.

    Args:
        store: Where they lie.
        resolved: Which they are.
        like: A verified scorer of the same version, whose bundle and network are used again.
        threads: Parts of a table that are scored at the same time.

    Raises:
        UnknownModel: If the store has no such version or policy.
        BundleMismatch: If the bundle or the policy does not verify.
        SignatureRefused: If one is unsigned, signed by an unknown key, or changed since.
    """
    policy, key_id = store.signed_policy(resolved.name, resolved.policy_version)
    scorer = Scorer(
        like.bundle if like else store.bundle(resolved.name, resolved.model_version),
        policy,
        model_version=resolved.model_version,
        policy_version=resolved.policy_version,
        policy_key_id=key_id,
        model=like.model if like else None,
        threads=threads,
    )
    verify_golden_rows(scorer)
    return scorer


def verify_golden_rows(scorer: Scorer) -> None:
    """Score the golden rows as requests and compare with what the training saw.

    Raises:
        BundleMismatch: If a feature differs at all, a logit by more than ``LOGIT_TOLERANCE``, or
            a decision.
        PolicyMismatch: If the policy decides its own golden logits otherwise here.
    """
    scorer.policy.check_golden()
    golden = scorer.bundle.golden

    try:
        scored = scorer.score_requests(golden.rows, golden.velocity)
    except RequestRefused as refusal:
        raise BundleMismatch(
            f"Bundle {scorer.bundle.folder}: one of its golden rows is refused ({refusal}) "
            "Train again with golden rows that a client could send."
        ) from None

    def decision(logits: NDArray[np.float32]) -> NDArray[np.int8]:
        return scorer.policy.decide(
            logits, amount_minor=scored.amount_minor, segment=scored.segment
        )[1]

    same = {
        "features": np.array_equal(scored.arrays.numeric, golden.numeric, equal_nan=True)
        and np.array_equal(scored.arrays.categorical, golden.categorical),
        "logits": logit_difference(scored.logits, golden.logits) <= LOGIT_TOLERANCE,
        "decisions": np.array_equal(decision(scored.logits), decision(golden.logits)),
    }
    for what, agrees in same.items():
        if not agrees:
            raise BundleMismatch(
                f"Bundle {scorer.bundle.folder} does not reproduce the {what} of its golden rows "
                "on this machine. Deploy the release and versions that trained it, or train again."
            )
