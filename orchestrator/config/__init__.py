"""The configuration of a run or sweep, and how files become one."""
