"""`dpzo doctor`: whether this machine can do what a run will ask of it."""
