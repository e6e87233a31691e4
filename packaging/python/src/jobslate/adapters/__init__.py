"""Adapters that report by themselves: `celery` for its tasks, `futures` for executors.

Neither is imported by the package; each needs only the library that it is named after.
"""
