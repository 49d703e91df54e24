"""Estimates of what the workflow costs, made before any of it has run."""
