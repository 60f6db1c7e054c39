"""Use cases: one function per thing that can happen. Transactions are opened here and nowhere above."""
