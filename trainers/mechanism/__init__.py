"""The parts of a private step: sample, clip, add noise, draw a token, log the release."""
