"""Budgets of data sets: reserving, drawing, stating and verifying what was spent."""
