"""For tests, our own and those of workflow authors: a Databricks workspace, and the service as processes."""
