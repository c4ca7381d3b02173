"""`dpzo audit`: tests the privacy claim of a run on the code that makes the run."""
