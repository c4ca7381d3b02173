"""The root of the exceptions that this project defines. It imports nothing, so that every package may import it."""


class DpzoError(Exception):
    """Any refusal or failure that this project names; `from orchestrator import DpzoError` and catch this one.

    Wrong arguments of a function are plain `ValueError`s and `TypeError`s, which are not below it.
    """
