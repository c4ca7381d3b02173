"""A seeded simulator: the real driver, run, ledger and release log in one process, on a machine that fails as told.

`machine` counts the operations of a process and ends it at one of them; `disk` and `database` stand below the real
files and the real ledger; `witness` sees what is read and used, whatever the log says; `history` draws the faults of
one history from its seed, and `claims` are what must hold when it is done. `workers` and `lanes` are histories of runs
that several ranks take, which are the threads of `group`, and of a sweep.
"""
