"""WeChat Pay API v3 for direct merchants."""
