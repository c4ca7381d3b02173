"""How ONE private run is made: data, directions, clipping, noise, methods, evaluators and the release log."""
