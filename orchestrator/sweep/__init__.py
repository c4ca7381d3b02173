"""Running trials: the sweep, one run, lanes, the Optuna search, status and export."""
