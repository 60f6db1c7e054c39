"""The HTTP edge: turns the contract's HTTP into calls of the core and back.

It decides nothing, holds no secret and has no database. Routes, codecs and the API document are made from the proto
files, so that an RPC and its paths are declared in one place.
"""
