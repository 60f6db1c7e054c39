"""Loops around use cases, with no rules of their own."""
