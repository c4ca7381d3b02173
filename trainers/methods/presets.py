"""The papers' published settings, by method and model: `method.preset: dpzero/roberta-large`.

A preset fills the `method` section; what the configuration itself gives takes precedence. Batch size, epsilon and delta
belong to `privacy` and are not filled in: `with_batch` says which B the settings were published with. Learning rates
and clips do not carry over to models of another size, so a preset is refused for other heads and sizes.
"""

from trainers.methods.catalogue import METHODS, require_known
from trainers.methods.spec import Preset


def presets() -> dict[str, Preset]:
    """Return every preset under its name, 'method/model'."""
    return {f"{name}/{model}": preset for name, spec in METHODS.items() for model, preset in spec.presets.items()}


def preset_of(name: str) -> Preset:
    """Return a preset by name; ValueError with the nearest name if there is none."""
    require_known("preset", name, presets())
    return presets()[name]


def require_kind_of_model(name: str | None, head: str, trainable: str) -> None:
    """Refuse, with a ValueError, a preset of another head, or for the other choice of parameters."""
    if name is None:
        return
    preset = preset_of(name)
    if head not in preset.heads or trainable != preset.trainable:
        raise ValueError(
            f"method.preset {name!r} was published for model.head {' or '.join(preset.heads)} with model.trainable "
            f"{preset.trainable}, not for {head} with {trainable}: drop it and give the settings, or choose another"
        )


def require_size_of_model(name: str | None, parameter_count: int) -> None:
    """Refuse, with a ValueError, a preset of a model that is much smaller or larger."""
    if name is None:
        return
    smallest, largest = preset_of(name).sizes
    if not smallest <= parameter_count <= largest:
        raise ValueError(
            f"method.preset {name!r} was published for models of {smallest:.0e} to {largest:.0e} parameters, and this "
            f"one has {parameter_count:.1e}: its learning rate and clip would not suit. Drop it and give the settings."
        )
