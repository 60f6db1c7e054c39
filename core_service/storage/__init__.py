"""Tables and every query on them; the only part that speaks SQL."""
