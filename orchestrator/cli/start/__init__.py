"""How a user begins: `dpzo init`, `dpzo demo` and `dpzo schema`."""
