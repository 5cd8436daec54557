"""A Databricks workspace on loopback: the part of the Jobs API that a job needs."""
