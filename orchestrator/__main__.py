"""`python -m orchestrator` is `dpzo`."""

from orchestrator.cli.app import main

main()
