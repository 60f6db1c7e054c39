"""The frame of every page: templates, macros, formats."""
