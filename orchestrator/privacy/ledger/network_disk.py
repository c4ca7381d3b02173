"""Finds out whether a path lies on a network file system, where SQLite's locks and shared memory fail."""

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

NETWORK_FILE_SYSTEMS = {
    "nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "lustre", "ceph", "gpfs", "beegfs", "glusterfs", "afs",
    "fuse.sshfs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs",
}  # fmt: skip


def network_file_system(path: Path) -> str | None:
    """Return the type of the network file system that an absolute path lies on; None if it lies on a local disk."""
    if not MOUNTS.exists():  # not Linux
        return None
    kind, longest = None, -1
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        mount, _, source = line.partition(" - ")
        point = Path(_unescaped(mount.split()[4]))
        if path.is_relative_to(point) and len(point.parts) >= longest:  # a later mount on the same point hides it
            kind, longest = source.split()[0], len(point.parts)
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
