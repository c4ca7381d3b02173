"""`dpzo audit`: the claim of a run, tested on the code that makes the run."""
