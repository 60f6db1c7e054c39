"""Alipay open platform gateway with RSA2 signatures, in public-key or certificate mode."""
