"""Pages as people meet them: real Chromium against the running product."""
