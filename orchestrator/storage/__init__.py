"""The files of runs and sweeps below storage_path."""
