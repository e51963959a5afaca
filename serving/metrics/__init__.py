"""What the service counts about itself, and how Prometheus reads it.

Requests update plain Python numbers (``tally``); once a second, and whenever they are asked for,
these are added to Prometheus' own (``published``), which sum over the processes of a service.
"""
