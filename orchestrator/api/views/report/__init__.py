"""The report of a finished run or sweep: one page in HTML, without scripts or a network."""
