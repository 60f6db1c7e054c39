"""The simulated payment providers and a demo merchant site, for development and tests only.

The sandbox is the independent other side of NovaPay: it imports nothing from the product, keeps
its own books and checks every request the way the real providers do.
"""
