"""Proof that nothing stored was changed: what an outsider can run with the standard library alone.

Modules here import nothing but the standard library and each other; ``assembled`` makes one file
of them, which needs no installation. ``whitecrow audit verify`` runs the same checks on the same
rows, with faster decoders, and on PostgreSQL.
"""
