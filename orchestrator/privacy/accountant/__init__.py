"""From a DpEvent to a certified epsilon, and back to the noise that fits."""
