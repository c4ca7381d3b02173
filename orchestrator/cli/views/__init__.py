"""What people look at: live tables, final tables and the privacy statement on a terminal."""
