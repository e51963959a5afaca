"""The decision log: every answer, written down before it is sent, once and for all to check.

``log`` takes records from requests and commits them in groups; ``store`` is what it needs of a
database, ``sqlite_store`` and ``postgres_store`` are two of them. ``record`` says what is kept of
a decision, ``group_bytes`` how those of one commit lie together, ``sealing`` what nobody can read
without a key, ``chain`` how a change shows.
"""
