"""Schedules: what runs when, who runs it, and how nothing is lost or done twice."""
