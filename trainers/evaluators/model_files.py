"""What lies at `model.path`: a whole model, an adapter over a base model, or a GGUF file; and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ADAPTER_CONFIG = "adapter_config.json"
GGUF = ".gguf"
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


def adapter_base(path: str) -> str | None:
    """Return the path of the base model if an adapter lies at `path`, a folder or a name on the hub; otherwise None.

    Raises:
        ValueError: the folder holds a whole model too, or the adapter names no base model that is a model itself.
    """
    from transformers.utils.peft_utils import find_adapter_config_file

    if not Path(path).is_dir() and (Path(path).is_file() or Path(path).is_absolute()):
        return None  # a GGUF file, or nothing
    with readable(path, "adapter"):
        file = find_adapter_config_file(path)
        if file is None:
            return None
        base = json.loads(Path(file).read_text(encoding="utf-8")).get("base_model_name_or_path")
        beside = Path(path).is_dir() and any(next(Path(path).glob(pattern), None) for pattern in _WEIGHTS)
        gone = isinstance(base, str) and base.startswith(("/", "./")) and not Path(base).exists()
        may_be = isinstance(base, str) and not gone and not Path(base).is_file()  # a GGUF file is no adapter
        on_another = may_be and find_adapter_config_file(base) is not None
    if gone:
        raise ValueError(
            f"model.path: {path} is an adapter, and its base model {base} is not there. Write where it lies into "
            f"base_model_name_or_path in {ADAPTER_CONFIG}"
        )
    if beside:
        raise ValueError(
            f"model.path: {path} holds a whole model and an adapter, and only one of them can be meant. Move "
            f"{ADAPTER_CONFIG} and adapter_model.safetensors, or the model's weights, into a folder of their own"
        )
    if not isinstance(base, str) or on_another:
        found = "another adapter" if on_another else repr(base)
        raise ValueError(
            f"model.path: {path} is an adapter, and its base_model_name_or_path in {ADAPTER_CONFIG} should name a "
            f"whole model; it names {found}. Merge the adapters with PEFT's merge_and_unload, and use the merged model"
        )
    return base


class Limits(NamedTuple):
    """The number of rows of a model's embedding, and how many tokens its rotary positions were made for."""

    num_ids: int
    context: float


def limits(path: str, head: str) -> Limits:
    """Return the limits of the model that lies at `path`, or of its adapter's base model.

    Without a limit a model with rotary positions computes longer rows as well, badly. Learned positions refuse them by
    themselves, and others need none: their context is infinite here.
    """
    from transformers import AutoConfig

    where, reader = split_gguf(adapter_base(path) or path)
    with readable(path, f"{head} model"):
        config: Any = AutoConfig.from_pretrained(where, trust_remote_code=False, **reader).get_text_config()
        num_ids = int(config.vocab_size)
    rotary = getattr(config, "rope_parameters", None) is not None and not getattr(config, "alibi", False)
    return Limits(num_ids, (rotary and getattr(config, "max_position_embeddings", None)) or math.inf)


def require_not_quantised(config: Mapping[str, Any], path: str) -> None:
    """Refuse a model whose config.json (`config`) says that its weights are quantised: ValueError."""
    found = config.get("quantization_config")
    if found is not None:
        method = found.get("quant_method", "unknown") if isinstance(found, Mapping) else "unknown"
        raise ValueError(
            f"model.path: the weights of {path} are quantised ({getattr(method, 'value', method)}), and directions "
            "cannot move quantised weights. Use the model in float32, bfloat16 or float16"
        )


def split_gguf(path: str) -> tuple[str, dict[str, str]]:
    """Return the folder and the arguments with which transformers reads `path`: `gguf_file`, where it is such a file.

    A folder with one GGUF file and no config.json is read as that file.

    Raises:
        ValueError: the library that reads GGUF is not installed.
    """
    file = Path(path)
    if file.is_dir() and not (file / "config.json").is_file():
        files = sorted(file.glob(f"*{GGUF}"))
        file = files[0] if len(files) == 1 else file
    if file.suffix != GGUF or not file.is_file():
        return path, {}
    if find_spec("gguf") is None:
        raise ValueError(
            f"model.path: {path} is in GGUF format, and the library that reads it is not installed: pip install gguf. "
            "Or use the model's folder with config.json and safetensors files"
        )
    return str(file.parent), {"gguf_file": file.name}


def one_line(error: Exception) -> str:
    """Return the first line of a library's error that says something, or its type."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


@contextmanager
def readable(path: str, kind: str) -> Iterator[None]:
    """Turn what a library raises about a model's files, many kinds and some of them bare, into one ValueError."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"model.path: no {kind} could be loaded from {path!r}: {one_line(error)}") from error
