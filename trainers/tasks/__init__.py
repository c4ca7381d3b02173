"""From a file or a data set to prepared examples: rows, templates, tokens, right answers."""
