"""Decisions of the past, decided again: from the log, the archived bundle and its policy.

``logged`` opens what is personal of them, ``models`` loads what decided, ``scored_again`` and
``decided_again`` do what the service did, ``comparison`` holds the two side by side, and
``replayer`` does all of it for many. Nothing is written, and no online state is asked: features
over time are taken as they were served.
"""
