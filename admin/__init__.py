"""Home of the consoles: pages for operators and merchants.

Like the REST edge it is a gRPC client of the core and never touches the database; the two edges never import each
other, and `rest_edge/front.py` puts both on one port. `admin/README.md` says how to add a page.
"""
