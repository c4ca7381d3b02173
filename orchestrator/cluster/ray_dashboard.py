"""How a person opens Ray's dashboard, and what it shows of the job that this process is."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray
from ray._raylet import AuthenticationMode, get_authentication_mode  # pyright: ignore[reportAttributeAccessIssue]

from orchestrator.cluster.address import on_a_cluster
from orchestrator.cluster.closed_session import own_token
from orchestrator.privacy.display import epsilon_text
from orchestrator.storage.files import write_whole
from orchestrator.storage.paths import Storage


def job_metadata(storage: Storage, epsilon: float) -> Mapping[str, str]:
    """Return what Ray's dashboard shows of a run or sweep as a job: name, reserved ε and folder."""
    return {"job_name": storage.name, "epsilon": epsilon_text(epsilon), "folder": str(storage.folder)}


@contextmanager
def opened_dashboard(storage: Storage) -> Iterator[str | None]:
    """Yield a line that says where Ray's dashboard is and how to get its token; None where there is no dashboard.

    A token that was made for this session lies in a file for the operator alone while the body runs.
    """
    address = _address()
    if address is None:
        yield None
        return
    token, file = own_token(), storage.ray_token_file
    if token is not None:
        write_whole(file, token + "\n", durable=False)
    try:
        yield f"Ray's dashboard: http://{address} · {_token_advice(storage)}"
    finally:
        if token is not None:
            file.unlink(missing_ok=True)


def _address() -> str | None:
    """Return the address of the dashboard of the session that is on."""
    if not ray.is_initialized():
        return None
    return ray.init(ignore_reinit_error=True, configure_logging=False).dashboard_url or None


def _token_advice(storage: Storage) -> str:
    if own_token() is not None:
        return f"its token: cat {storage.ray_token_file}"
    if not on_a_cluster():
        return "its token: your RAY_AUTH_TOKEN"
    if get_authentication_mode() == AuthenticationMode.TOKEN:
        return "its token: ray get-auth-token, on the head"
    return "it asks for no token"
