"""Trackers for `Sweep.run(callbacks=[…])`; the library of each is loaded when it is made.

from orchestrator.callbacks import CSV, MLflow, TensorBoard, WandB
"""

from orchestrator.callbacks.csv_file import CSV
from orchestrator.callbacks.mlflow import MLflow
from orchestrator.callbacks.released import Released
from orchestrator.callbacks.tensorboard import TensorBoard
from orchestrator.callbacks.tracker import Tracker
from orchestrator.callbacks.wandb import WandB

__all__ = ["CSV", "MLflow", "Released", "TensorBoard", "Tracker", "WandB"]
