"""Workflows: how they are defined, started, looked at and cancelled."""
