"""`python -m orchestrator` runs `dpzo`."""

from orchestrator.cli.app import main

main()
