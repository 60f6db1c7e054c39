"""Home of the consoles: pages for operators and merchants, and the operators' command line.

Like the REST edge it is a gRPC client of the core and never touches the database; the two edges never import each
other.
"""
