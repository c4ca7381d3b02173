"""The checks of `dpzo doctor`: versions, devices, Ray, and the evaluators on generated examples."""

import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from orchestrator.checks.doctor.findings import Diagnosis, Finding, first_line
from orchestrator.config.loading import load_run
from orchestrator.config.version import version_of
from trainers.config import RunConfig
from trainers.evaluators.vllm.package import INSTALL_HINT, installed_vllm

SHOWN_LIBRARIES = ("torch", "transformers", "ray", "optuna", "dp-accounting")
UPGRADE = "pip install --constraint constraints.txt --upgrade --editable ."


def diagnose(source: Path | None, overrides: Sequence[str] = ()) -> Diagnosis:
    """Run all checks, on the model of a configuration, or else on a small random one.

    ConfigError if the configuration cannot be read, ValueError for overrides without one.
    """
    if source is None and overrides:
        raise ValueError("--set changes a configuration, and none is given. Name its file, or leave --set out.")
    with tempfile.TemporaryDirectory(prefix="dpzo-doctor-") as folder:
        config = _random_project(Path(folder)) if source is None else load_run(source, overrides)
        findings = [*_versions(), *_devices(config), *_ray()]
        from orchestrator.checks.doctor.evaluators import check_evaluators  # loads torch

        findings += check_evaluators(config)
    return Diagnosis(findings=findings)


def _random_project(folder: Path) -> RunConfig:
    """Write a small random model, and return a configuration that evaluates it on the device that vLLM supports."""
    from orchestrator.checks.random_project import write_project

    config, package = write_project(folder), installed_vllm()
    speed = config.performance.model_copy(update={"device": package.device if package else "cpu"})
    return config.model_copy(update={"performance": speed})


def _versions() -> Iterator[Finding]:
    installed = ", ".join(f"{name} {version_of(name)}" for name in ("dpzo", *SHOWN_LIBRARIES))
    try:
        wrong = list(_unmet(requires("dpzo") or []))
    except PackageNotFoundError:
        wrong = []  # a checkout that is not installed; what is missing says so where it is used
    if wrong:
        yield Finding(name="versions", state="failed", found="; ".join(wrong), hint=UPGRADE)
    else:
        yield Finding(name="versions", state="ok", found=f"Python {platform.python_version()}, {installed}")
    package = installed_vllm()
    if package is None:
        yield Finding(name="vllm", state="absent", found="not installed", hint=INSTALL_HINT)
    else:
        yield Finding(name="vllm", state="ok", found=f"{package}, for {package.device}")


def _unmet(requirements: Sequence[str]) -> Iterator[str]:
    """Yield one line for each requirement, without extras, that the installed packages do not meet."""
    for required in map(Requirement, requirements):
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(required.name)
        except PackageNotFoundError:
            yield f"{required.name} is missing, {required.specifier} is required"
            continue
        if not required.specifier.contains(installed, prereleases=True):
            yield f"{required.name} is {installed}, {required.specifier} is required"


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
        hint = "Set performance.device: cpu, or install a build of torch for this GPU"
        yield Finding(name="GPU", state="failed", found="none, and performance.device asks for one", hint=hint)
    else:
        yield Finding(name="GPU", state="absent", found="none: everything runs on the CPU")


def _ray() -> Iterator[Finding]:
    """Start Ray as a sweep would, or connect to the cluster, and report its resources."""
    import ray

    from orchestrator.cluster.session import ray_session

    hint = "Check RAY_ADDRESS and the free space in /tmp; a cluster must run the same versions of Ray and Python"
    try:
        with ray_session(1) as dashboard:
            resources = ray.cluster_resources()
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        yield Finding(name="Ray", state="failed", found=first_line(error), hint=hint)
        return
    nodes = sum(name.startswith("node:") for name in resources) - ("node:__internal_head__" in resources)
    cpus, gpus, memory = (resources.get(name, 0.0) for name in ("CPU", "GPU", "memory"))
    shown = f"{cpus:g} CPUs, {gpus:g} GPUs, {memory / 2**30:.0f} GiB on {nodes} node(s)"
    if cpus:
        yield Finding(name="Ray", state="ok", found=shown)
    else:
        none = "No trial can run: start Ray on a worker, or on this node without --num-cpus=0"
        yield Finding(name="Ray", state="failed", found=shown, hint=none)
    if dashboard:
        yield Finding(name="dashboard", state="ok", found=f"http://{dashboard} while a sweep runs")
    else:
        yield Finding(name="dashboard", state="failed", found="did not start", hint="pip install 'ray[default]'")
