"""The command `dpzo`, and `python -m orchestrator`; a signal ends it with one line, even while its modules load."""

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, _end_before_it_begins)
    from orchestrator.cli.app import main as run

    run()


def _end_before_it_begins(number: int, _frame: FrameType | None) -> None:
    os.write(2, f"Interrupted by {signal.Signals(number).name}. Nothing had begun.\n".encode())
    os._exit(128 + number)


if __name__ == "__main__":
    main()
