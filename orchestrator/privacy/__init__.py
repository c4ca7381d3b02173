"""The auditable core: events to ε, calibration, the composition of a sweep, the ledger, the statement."""
