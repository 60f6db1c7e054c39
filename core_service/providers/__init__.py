"""Providers: one module each; a provider's vocabulary never leaves its module."""
