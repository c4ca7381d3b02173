"""What may vary from trial to trial: distributions, the space of a sweep, and how its trials are chosen."""
