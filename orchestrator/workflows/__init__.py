"""The workflows that ship, each also the example to copy."""

from orchestrator.workflows.approve_and_ship import approve_and_ship
from orchestrator.workflows.databricks_pipeline import databricks_pipeline

__all__ = ["approve_and_ship", "databricks_pipeline"]
