"""`dpzo doctor`: checks whether this machine can do what a run needs."""
