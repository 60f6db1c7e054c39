"""What a request costs, beside what it would have to cost at least: `make bench`.

Everything runs on this machine and over loopback: database, core, workers, edge, sandbox and the load. Figures
are ratios inside one run; absolute ones move with the machine and its neighbours.
"""
