"""The Ray session, and what is checked of a cluster before anything is reserved."""
