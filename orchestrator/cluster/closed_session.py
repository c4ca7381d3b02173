"""A Ray session of this machine that is closed to others: it listens on the loopback alone, and asks for a token."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # pyright: ignore[reportAttributeAccessIssue]

AUTH_MODE, AUTH_TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
CLUSTER_ENABLED = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # on any system, "0" makes Ray listen on the loopback alone

_own_token: str | None = None  # of a session for which nobody gave one


def own_token() -> str | None:
    """Return the token that was made for this process's session; None where one was given, or on a cluster."""
    return _own_token


@contextmanager
def closed_to_others(address: str) -> Iterator[None]:
    """Let Ray's session on this machine listen on the loopback alone, and ask for a token.

    The token is in the environment of the session's processes. Otherwise Ray writes one into ~/.ray, readable for all,
    and the next cluster of this machine would take it for its own. The variable `address` is left out meanwhile.
    """
    global _own_token
    _own_token = None if os.environ.get(AUTH_TOKEN) else secrets.token_hex(32)
    settings = {AUTH_MODE: "token", AUTH_TOKEN: _own_token or os.environ[AUTH_TOKEN], CLUSTER_ENABLED: "0"}
    before = {name: os.environ.pop(name, None) for name in (*settings, address)}
    os.environ.update(settings)
    let_ray_read_again(cluster_enabled=False)
    try:
        yield
    finally:
        _own_token = None
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})
        let_ray_read_again(cluster_enabled=True)


def let_ray_read_again(cluster_enabled: bool) -> None:
    """Let Ray in this process know what changed in the environment: it reads these settings when it is imported."""
    ray_constants.ENABLE_RAY_CLUSTER = cluster_enabled
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
