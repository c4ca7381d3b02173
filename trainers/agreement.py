"""Settings of several sections that must agree for the promise to mean anything: sizes, units, scores, adjacency.

Each refusal is one line that names the settings and a way out. What one section can check alone is in config.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.methods.catalogue import METHODS

if TYPE_CHECKING:
    from trainers.config import RunConfig

CONFUSION_METRICS = ("f1", "precision", "recall")
_OF_TARGETS = ("likelihood", "exact-match", "token-f1")


def require_agreement(config: RunConfig, *, private: bool) -> None:
    """Refuse a configuration whose sizes, split or scores contradict each other; `private` is the method's.

    Raises:
        ValueError: naming the settings, one line.
    """
    _require_batch_fits(config)
    _require_workers_fit(config)
    if config.privacy.noise == "laplace" and METHODS[config.method.name].order == "first":
        raise ValueError("privacy.noise: laplace is for zeroth-order methods; gradients get gaussian noise")
    if config.model.master_dtype != "float32" and METHODS[config.method.name].order == "first":
        raise ValueError(
            f"model.master_dtype {config.model.master_dtype} is for zeroth-order methods, whose updates are rounded to "
            "it; use float32 with gradients"
        )
    _require_split_is_private(config)
    _require_metric_fits(config)
    if config.score.on == "private":
        _require_private_score(config, private)
    elif config.privacy.spare_scores:
        raise ValueError("privacy.spare_scores buys nothing with score.on: public, whose scores cost no token")


def _require_batch_fits(config: RunConfig) -> None:
    if config.sampling_prob <= 1:
        return
    declared = f"data.num_{config.data.unit}s {config.data.num_units}"
    if config.data.validation_share is not None:
        declared += f" less the validation share, {config.num_training_units:g}"
    raise ValueError(
        f"privacy.expected_batch_size {config.privacy.expected_batch_size:g} exceeds {declared}: the sampling "
        "probability would be above 1"
    )


def _require_workers_fit(config: RunConfig) -> None:
    resources = config.resources
    if not resources.is_distributed:
        return
    if METHODS[config.method.name].order == "first":
        raise ValueError(
            f"resources.workers {resources.most_workers}: a first-order run takes one; its gradients are as large as "
            "the model, and not exchanged here"
        )
    if (config.performance.device == "cpu") != (resources.gpus_per_worker == 0):
        raise ValueError(
            f"performance.device {config.performance.device} and resources.gpus_per_worker "
            f"{resources.gpus_per_worker:g} disagree: workers on GPUs need device cuda and a share of one each"
        )


def _require_split_is_private(config: RunConfig) -> None:
    if config.data.validation_share is None:
        return
    if config.score.on == "public":
        raise ValueError("data.validation_share takes private rows to score on: set score.on: private")
    if config.score.num_examples is not None:
        raise ValueError(
            "score.num_examples and data.validation_share both give the number of rows to score on: leave out the first"
        )
    if config.privacy.adjacency == "replace-one":
        raise ValueError(
            "data.validation_share needs privacy.adjacency: add-or-remove-one. A record in another's place may fall on "
            "the other side of the split, and then both sides change"
        )


def _require_metric_fits(config: RunConfig) -> None:
    metric, num_labels = config.metric, len(config.task.label_names)
    if config.task.target is not None and metric not in ("loss", *_OF_TARGETS):
        raise ValueError(
            f"score.metric {metric} counts right answers, and a target text has none; use loss or {_OF_TARGETS[0]}"
        )
    if config.task.target is None and metric in _OF_TARGETS:
        raise ValueError(f"score.metric {metric} is that of a target text (task.target); use accuracy or loss")
    if metric in CONFUSION_METRICS and num_labels < 2:
        raise ValueError(f"score.metric {metric} needs at least two labels in task.label_words or task.labels")
    if metric != "loss" and config.score.loss_bound is not None:
        raise ValueError(f"score.loss_bound belongs to score.metric: loss, not {metric}")


def _require_private_score(config: RunConfig, private: bool) -> None:
    if not private:
        title = METHODS[config.method.name].title
        raise ValueError(f"score.on: private buys nothing under {title}: use score.on: public")
    if config.metric in _OF_TARGETS:
        raise ValueError(
            f"score.on: private has no {config.metric}: use score.metric: loss with score.loss_bound, or score on "
            "public data"
        )
    if config.metric == "loss" and config.score.loss_bound is None:
        raise ValueError(
            "score.metric: loss on private examples needs score.loss_bound, the most that one example can add in nats"
        )
    if config.num_scored_units is None or not config.data.has_validation:
        raise ValueError(
            "score.on: private needs data.validation and score.num_examples, its declared size (or "
            "data.validation_share)"
        )
