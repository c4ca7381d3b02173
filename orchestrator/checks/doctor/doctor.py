"""`dpzo doctor`: whether this machine can do what a run will ask of it, before anything private is near.

Versions and devices, what Ray can give, and then the evaluators themselves on made-up examples: whether their losses
agree, whether a probe moves them, whether θ is afterwards what it was. With a configuration its model is looked at,
without one a small random one. Nothing is reserved and no row of data is read.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from orchestrator.checks.doctor.findings import Diagnosis, Finding, first_line
from orchestrator.config.loading import load_run
from trainers.config import RunConfig
from trainers.evaluators.vllm.package import INSTALL_HINT, installed_vllm

NAMED = ("torch", "transformers", "ray", "optuna", "dp-accounting")
UPGRADE = "pip install --constraint constraints.txt --upgrade --editable ."
FAILED = 1  # exit code


def diagnose(source: Path | None, overrides: Sequence[str] = ()) -> Diagnosis:
    """Look at everything, at the model of a configuration where one is given.

    Raises:
        ConfigError: the configuration cannot be read.
        ValueError: overrides without a configuration.
    """
    if source is None and overrides:
        raise ValueError("--set changes a configuration, and none is given")
    with tempfile.TemporaryDirectory(prefix="dpzo-doctor-") as folder:
        config = _own_project(Path(folder)) if source is None else load_run(source, overrides)
        findings = [*_versions(), *_devices(config), *_ray()]
        from orchestrator.checks.doctor.evaluators import look_at_evaluators  # loads torch

        findings += look_at_evaluators(config)
    return Diagnosis(findings=findings)


def _own_project(folder: Path) -> RunConfig:
    """Write a small random model, and return a configuration that evaluates it where vLLM would."""
    from orchestrator.checks.audit.real_model import write_project

    config, package = write_project(folder), installed_vllm()
    speed = config.performance.model_copy(update={"device": package.device if package else "cpu"})
    return config.model_copy(update={"performance": speed})


def _versions() -> Iterator[Finding]:
    found = ", ".join(f"{name} {version(name)}" for name in ("dpzo", *NAMED))
    wrong = list(_unmet(requires("dpzo") or []))
    if wrong:
        yield Finding(name="versions", state="failed", found="; ".join(wrong), hint=UPGRADE)
    else:
        yield Finding(name="versions", state="ok", found=f"Python {platform.python_version()}, {found}")
    package = installed_vllm()
    if package is None:
        yield Finding(name="vllm", state="absent", found="not installed", hint=INSTALL_HINT)
    else:
        yield Finding(name="vllm", state="ok", found=f"{package}, for {package.device}")


def _unmet(requirements: Sequence[str]) -> Iterator[str]:
    """Yield what is wanted and not there, extras aside."""
    for wanted in map(Requirement, requirements):
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(wanted.name)
        except PackageNotFoundError:
            yield f"{wanted.name} is missing, {wanted.specifier} is wanted"
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            yield f"{wanted.name} is {found}, {wanted.specifier} is wanted"


def _devices(config: RunConfig) -> Iterator[Finding]:
    import torch

    cores, memory = os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Finding(name="CPU", state="ok", found=f"{cores} cores, {memory / 2**30:.0f} GiB")
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    if gpus:
        shown = ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus)
        yield Finding(name="GPU", state="ok", found=shown)
        return
    if config.performance.device.startswith("cuda"):
        hint = "Set performance.device: cpu, or install a torch that sees the GPU"
        yield Finding(name="GPU", state="failed", found="none, and performance.device asks for one", hint=hint)
    else:
        yield Finding(name="GPU", state="absent", found="none: everything runs on the CPU")


def _ray() -> Iterator[Finding]:
    """Start Ray as a sweep would, or connect to the cluster, and look at what it offers."""
    import ray

    from orchestrator.cluster.session import ray_session

    hint = "Look at RAY_ADDRESS, and at free space in /tmp; a cluster must run this Ray and this Python"
    try:
        with ray_session(1) as dashboard:
            given = ray.cluster_resources()
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        yield Finding(name="Ray", state="failed", found=first_line(error), hint=hint)
        return
    nodes = sum(name.startswith("node:") for name in given) - ("node:__internal_head__" in given)
    memory = given.get("memory", 0.0) / 2**30
    found = f"{given.get('CPU', 0):g} CPUs, {given.get('GPU', 0):g} GPUs, {memory:.0f} GiB on {nodes} node(s)"
    yield Finding(name="Ray", state="ok", found=found)
    if dashboard:
        yield Finding(name="dashboard", state="ok", found=f"http://{dashboard} while a sweep runs")
    else:
        yield Finding(name="dashboard", state="failed", found="did not start", hint="pip install 'ray[default]'")
