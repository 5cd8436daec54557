"""The workflows that ship, each also the example to copy."""

from orchestrator.workflows.databricks_pipeline import databricks_pipeline

__all__ = ["databricks_pipeline"]
