"""One row in, one decision out: bundles, the scorer and the HTTP service."""
