"""What a run or sweep will cost, known before any private row is read."""
