"""RAY_ADDRESS: the address of the cluster that is used, and that somebody answers there."""

import os
import socket
from contextlib import suppress

from ray._private.services import canonicalize_bootstrap_address
from ray._private.utils import read_ray_address

ADDRESS, LOCAL = "RAY_ADDRESS", "local"
CONNECT_S = 10.0


def on_a_cluster() -> bool:
    """Return whether RAY_ADDRESS names a running cluster."""
    return os.environ.get(ADDRESS, LOCAL) != LOCAL


def cluster_address() -> str | None:
    """Return the address of the cluster that RAY_ADDRESS names, None for a session of this machine alone.

    ValueError if it is not set and `ray start` left an address on this machine that answers.
    """
    address = os.environ.get(ADDRESS)
    if address is None and (here := read_ray_address()):
        with suppress(OSError):
            _knock(here)
            raise ValueError(
                f"{ADDRESS} is not set, and a Ray cluster runs on this machine, at {here}. Set {ADDRESS}=auto to use "
                f"it, or {ADDRESS}={LOCAL} to run on this machine alone."
            )
    return None if address == LOCAL else address


def require_listener(address: str) -> None:
    """Refuse an address where nothing listens; Ray would try it again for minutes."""
    host, _, port = address.rpartition(":")
    if "//" in address or (address != "auto" and not (host and port.isdigit())):
        raise ValueError(f"{ADDRESS}: got {address!r}; expected host:port of the head, or auto, on one of its nodes.")
    try:
        _knock(_found_here() if address == "auto" else address)
    except OSError as error:
        raise ValueError(f"{ADDRESS}: no Ray cluster answers at {address}: {error.strerror or error}.") from None


def _found_here() -> str:
    """Return host:port of the cluster that runs on this machine, as Ray finds it; ValueError if there is none."""
    try:
        if (address := canonicalize_bootstrap_address("auto")) is not None:
            return address
    except ConnectionError:
        pass
    raise ValueError(
        f"{ADDRESS}: it is auto, and no Ray cluster runs on this machine. Start one (`ray up`, `ray start`), give "
        f"host:port of its head, or set {ADDRESS}={LOCAL}."
    )


def _knock(address: str) -> None:
    """Open a connection to host:port, and close it; OSError if nobody answers."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
