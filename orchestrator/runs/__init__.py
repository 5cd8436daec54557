"""Workflows: how they are defined, started, read and cancelled."""
