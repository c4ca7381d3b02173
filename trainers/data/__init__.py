"""From the rows of a file or data set to prepared examples."""
