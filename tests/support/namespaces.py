"""Machines of the tests' own: a laptop, a head and workers made of Linux namespaces, joined by a bridge.

    with Machines() as machines:
        machines.run("laptop", "ray up -y local.yaml")

Each has its own network, processes and hostname, sshd on port 22, its own /root, /tmp and /dev/shm, and a copy on write
of this Python environment without dpzo, at ~/venv too. So `ray up`, `ray stop` and `ray down` are the real ones and see
no other process of this machine. /mnt is one folder for all but the laptop, as a mounted network drive is.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Self

ADDRESSES = {"laptop": "10.77.0.2", "head": "10.77.0.10", "worker1": "10.77.0.11", "worker2": "10.77.0.12"}
GATEWAY = "10.77.0.1"
PROGRAMS = ("unshare", "nsenter", "setpriv", "ip", "sshd", "ssh", "ssh-keygen", "rsync")
SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
READY_S = 30.0

# the first process of a machine: it mounts what is the machine's own, starts sshd, and reaps what others leave behind
BOOT = r"""
set -e
NAME=$1 OWN=$2 SHARED=$3 ENVIRONMENT=$4 PYTHON=$5; shift 5
hostname "$NAME"
placed() { case $1 in /root/* | /tmp/*) echo "$OWN$1" ;; *) echo "$1" ;; esac; }
mkdir -p "$OWN"/{root,tmp,changes} "$(placed "$ENVIRONMENT")" "$(placed "$PYTHON")"
mount -t tmpfs tmpfs "$OWN/changes"
mkdir "$OWN"/changes/{made,work}
mount -t overlay overlay -o "lowerdir=$ENVIRONMENT,upperdir=$OWN/changes/made,workdir=$OWN/changes/work" \
    "$(placed "$ENVIRONMENT")"
[ "$(placed "$PYTHON")" = "$PYTHON" ] || mount --bind "$PYTHON" "$(placed "$PYTHON")"
mount --bind "$OWN/hosts" /etc/hosts
mount --bind /dev/null /etc/resolv.conf
mount --bind "$SHARED" /mnt
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mkdir /run/sshd
(cd "$(placed "$ENVIRONMENT")" && rm -rf -- "$@")
mount --rbind "$OWN/root" /root
mount --rbind "$OWN/tmp" /tmp
ln -s "$ENVIRONMENT" /root/venv
/usr/sbin/sshd -D -e -f /dev/null -h /root/.ssh/host_key -o UsePAM=no -o StrictModes=no -o PidFile=none &
touch /tmp/.ready
while :; do sleep infinity & wait; done
"""


def missing() -> str | None:
    """Return why such machines cannot be made here; None where they can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=SBIN) is None]
    if absent:
        return f"machines of namespaces need {', '.join(absent)}; on Debian: apt-get install openssh-server rsync"
    made = subprocess.run(["unshare", "--net", "--pid", "--mount", "--uts", "--fork", "true"], capture_output=True)
    return f"namespaces cannot be made here: {made.stderr.decode().strip()}" if made.returncode else None


class Machines:
    """The machines, from `with` to the end of its body, in a folder that is then removed."""

    def __init__(self) -> None:
        self.folder = Path(
            tempfile.mkdtemp(prefix="dpzo-machines-")
        )  # short: a socket's path has 107 characters at most
        self.folder.chmod(0o755)
        self.shared = self.folder / "shared"
        self.shared.mkdir()
        self._boot_script = self.folder / "boot.sh"
        self._boot_script.write_text(BOOT)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def root(self, name: str) -> Path:
        """Return where /root of a machine lies on this one."""
        return self.folder / name / "root"

    def run(self, name: str, command: str, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a shell command on a machine, in /root, to its end."""
        return subprocess.run(
            self._inside(name, command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s
        )

    def start(self, name: str, command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a shell command on a machine."""
        return subprocess.Popen(self._inside(name, command), text=True, **options)

    def kill_all(self, name: str) -> None:
        """Kill every process of a machine, as a power cut does, but for the first one."""
        self.run(name, "kill -9 -1")

    def processes(self, name: str) -> list[str]:
        """Return the command lines of a machine's processes."""
        return self.run(name, "ps -eo args=").stdout.splitlines()

    def __enter__(self) -> Self:
        key = self.folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        self._begin("bridge", ["--net"], "sleep", "infinity")
        self._network("bridge", "link add br0 type bridge", f"addr add {GATEWAY}/24 dev br0", "link set br0 up")
        for name in ADDRESSES:
            self._boot(name, key)
        return self

    def __exit__(self, *_: object) -> None:
        for name, process in self._processes.items():
            os.kill(self._first(name), signal.SIGKILL)  # with the first process of a namespace all others end
            process.wait()
        shutil.rmtree(self.folder)

    def _boot(self, name: str, key: Path) -> None:
        own = self.folder / name
        ssh = own / "root" / ".ssh"
        ssh.mkdir(parents=True)
        shutil.copy(key, ssh / "host_key")
        shutil.copy(f"{key}.pub", ssh / "authorized_keys")
        if name == "laptop":
            shutil.copy(key, ssh / "id_ed25519")
            (own / "shared").mkdir()
        hosts = ["127.0.0.1 localhost", *(f"{ADDRESSES[other]} {other}" for other in ADDRESSES)]
        (own / "hosts").write_text("\n".join(hosts) + "\n")
        shared = own / "shared" if name == "laptop" else self.shared
        prefix, installed = Path(sys.prefix).resolve(), distribution("dpzo").files or ()
        dpzo = [str(Path(file.locate()).resolve().relative_to(prefix)) for file in installed]
        apart = ["--net", "--pid", "--mount", "--uts", "--mount-proc", "--propagation", "private"]
        python = Path(sys.base_prefix).resolve()
        self._begin(name, apart, "bash", str(self._boot_script), name, *map(str, (own, shared, prefix, python)), *dpzo)
        first = self._first(name)
        self._network("bridge", f"link add {name} type veth peer name eth0 netns {first}")
        self._network("bridge", f"link set {name} master br0 up")
        self._network(
            name,
            "link set lo up",
            f"addr add {ADDRESSES[name]}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {GATEWAY}",
        )
        self._wait(name, own / "tmp" / ".ready")

    def _begin(self, name: str, apart: list[str], *command: str) -> None:
        """Start the first process of new namespaces, which ends when this process does."""
        (self.folder / name).mkdir(exist_ok=True)
        with open(self.folder / name / "log", "wb") as log:
            self._processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child", *apart, *command],
                stdout=log,
                stderr=log,
            )

    def _first(self, name: str) -> int:
        """Return the process number, as seen from here, of a machine's first process."""
        pid = self._processes[name].pid
        deadline = time.monotonic() + READY_S
        while not (children := Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            assert time.monotonic() < deadline, self._log(name)
            time.sleep(0.01)
        return int(children[0])

    def _network(self, name: str, *commands: str) -> None:
        for command in commands:
            subprocess.run(["nsenter", "-t", str(self._first(name)), "-n", "ip", *command.split()], check=True)

    def _wait(self, name: str, path: Path) -> None:
        deadline = time.monotonic() + READY_S
        while not path.exists():
            assert self._processes[name].poll() is None, self._log(name)
            assert time.monotonic() < deadline, self._log(name)
            time.sleep(0.02)

    def _log(self, name: str) -> str:
        return (self.folder / name / "log").read_text()

    def _inside(self, name: str, command: str) -> list[str]:
        enter = ["nsenter", "-t", str(self._first(name)), "-m", "-n", "-p", "-u"]
        environment = ["env", "-i", "HOME=/root", "USER=root", "LANG=C.UTF-8", f"PATH=/root/venv/bin:{SBIN}"]
        return [*enter, *environment, "bash", "-c", f"cd; {command}"]
