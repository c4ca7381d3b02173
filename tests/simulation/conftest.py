import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def place():
    """A folder in memory, where there is one: what a loss of power leaves is simulated, and fsync need not wait."""
    parent = MEMORY if os.access(MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="dpzo-simulation-", dir=parent))
    yield folder / "runs"
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _quiet():
    """Keep the warnings of thousands of simulated faults out of the reports."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
