"""What people see on a terminal: tables, the live view, plots, and the privacy statement."""
