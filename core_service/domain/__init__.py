"""Rules without I/O: standard library only, time passed in."""
