"""The methods: a table of what each paper chooses, and the estimators that they share."""
