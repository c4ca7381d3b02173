"""The Ray session, and the checks of a cluster before anything is reserved."""
