"""The first-order baselines: DP-SGD, DP-AdamW and AdamW, over the data, tokens, accountant and scores of the others."""
