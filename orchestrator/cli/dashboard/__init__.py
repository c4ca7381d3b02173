"""A page that shows runs and sweeps in a browser, from their folder and ledger alone."""
