"""A signal ends the process at once, with one line and exit code 128 + signal, whatever the process does."""

import os
import signal
import subprocess
import sys
import time
from itertools import cycle

import psutil
import pytest

from orchestrator.cli.interruption import SIGNALS

PLACES = {
    "in a lock": "threading.Event().wait()",
    "in a library's code": "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
    "where errors are swallowed": """
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
""",
    "under another handler": """
for number in SIGNALS:
    signal.signal(number, lambda *_: None)
time.sleep(60)
""",
}


def start(code, blocked=()):
    begin = "import hashlib, os, signal, subprocess, sys, threading, time\n"
    begin += "from orchestrator.cli.interruption import SIGNALS, end_at_signals\nend_at_signals()\n"
    code = begin + "print('ready', flush=True)\n" + code
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, blocked),
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("number", "place"),
    [*((number, "where errors are swallowed") for number in SIGNALS), *zip(cycle(SIGNALS), PLACES, strict=False)],
)
def test_a_signal_ends_the_process_with_one_line(number, place):
    process = start(PLACES[place])
    time.sleep(0.05)
    begun = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (128 + number, "", f"Interrupted by {number.name}.\n")
    assert time.monotonic() - begun < 5


def test_what_the_parent_blocked_is_heard():
    """Ray blocks SIGINT in all that it starts, and so in the program of a job."""
    process = start("time.sleep(60)", blocked=[signal.SIGINT])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (128 + signal.SIGINT, "", "Interrupted by SIGINT.\n")


def test_nothing_below_it_is_left():
    process = start("""
children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) for _ in range(2)]
print(*[child.pid for child in children], flush=True)
time.sleep(60)
""")
    children = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    _, left = psutil.wait_procs(children, timeout=10)  # the kernel takes a moment to end what was killed
    assert [child for child in left if child.status() != psutil.STATUS_ZOMBIE] == []


def test_a_fork_that_is_ended_does_not_end_its_parent():
    process = start("""
child = os.fork() or time.sleep(60)
time.sleep(0.1)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
time.sleep(0.1)
""")
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, f"{-signal.SIGTERM}\n", "")


def test_nohup_is_obeyed():
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; from orchestrator.cli.interruption import end_at_signals as end; end()\n"
         "print(1, flush=True); time.sleep(0.3)"],
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    process.stdout.readline()
    os.kill(process.pid, signal.SIGHUP)
    process.communicate(timeout=10)
    assert process.returncode == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_modules_are_loaded_prints_no_traceback(number):
    code = f"""
import os, sys, types
from orchestrator import __main__ as entry

app = types.ModuleType("app")
app.__getattr__ = lambda name: os.kill(os.getpid(), {int(number)})  # while it is imported
sys.modules["orchestrator.cli.app"] = app
entry.main()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (128 + number, f"Interrupted by {number.name}. Nothing had begun.\n")
