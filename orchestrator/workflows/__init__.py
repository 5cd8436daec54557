"""The workflows that come with the package. Each is also an example to copy."""

from orchestrator.workflows.approve_and_ship import approve_and_ship
from orchestrator.workflows.databricks_pipeline import databricks_pipeline
from orchestrator.workflows.price_quote import price_quote
from orchestrator.workflows.process_order import process_order
from orchestrator.workflows.summarize_website import summarize_website

__all__ = ["approve_and_ship", "databricks_pipeline", "price_quote", "process_order", "summarize_website"]
