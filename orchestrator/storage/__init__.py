"""What lies under storage_path: paths, results, progress, and runs that are already there."""
