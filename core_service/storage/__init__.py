"""The only code that speaks SQL: per aggregate one module with its tables and every query on them."""
