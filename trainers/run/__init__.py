"""One zeroth-order run, and what runs of every order share."""
