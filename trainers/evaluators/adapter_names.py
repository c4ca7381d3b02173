"""PEFT's names of parameters, in a model and in the files that it saves."""


def belongs_to_adapter(name: str) -> bool:
    """Return whether a parameter's name in the model is that of an adapter, or of a module that is saved with it."""
    return any(part.startswith("lora_") or part == "modules_to_save" for part in name.split("."))


def saved_name(name: str) -> str:
    """Return the name under which PEFT saves the tensor."""
    return name.replace(".default", "").replace(".modules_to_save", "")
