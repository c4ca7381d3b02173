"""`dpzo export --push-to-hub`: uploads an exported folder, with its card, to a model hub by huggingface_hub."""

from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from trainers.mechanism.release_log import Stopped

_HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]  # of the HTTP client, which changes with the version


def require_hub(repository: str) -> None:
    """Refuse, before anything is rebuilt, a name that no repository can have, and a machine without a token.

    ValueError. Nothing is sent.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError:
        raise ValueError(f"--push-to-hub {repository[:100]}: expected a name such as me/my-model") from None
    if get_token() is None:
        raise ValueError("--push-to-hub: there is no token of the hub; give one by `hf auth login` or HF_TOKEN")


def push_to_hub(folder: Path, repository: str) -> str:
    """Upload a folder as one commit, and return its address. A repository that is not there is made, private.

    Stopped where the hub refuses or cannot be reached; the folder stays.
    """
    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Model and privacy card, exported by dpzo"
        )
    except (_HTTP_ERROR, OfflineModeIsEnabled) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        what = "could not be reached" if status is None else f"refused with HTTP status {status}"
        raise Stopped(
            f"the hub {what}, and {repository} is not as it should be. The export is in {folder}; mend the token, the "
            f"name or the network, and upload it by `hf upload {repository} {folder}`."
        ) from None
    return commit.commit_url
