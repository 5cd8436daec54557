"""Databricks jobs: triggering a run once, watching it, cancelling it."""
