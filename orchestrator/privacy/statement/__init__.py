"""The privacy statement: its fields, its text, and how it is made."""
