"""`python -m orchestrator` is `dpzo`."""

from orchestrator.cli import main

main()
