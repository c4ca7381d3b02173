"""The durable count of what may be and was released about a data set."""
