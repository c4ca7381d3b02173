"""AdamW without privacy (ε = ∞), the first-order baseline. Loshchilov & Hutter (2019)."""

from dataclasses import replace

from trainers.methods.dp_adamw import DP_ADAMW

ADAMW = replace(DP_ADAMW, title="AdamW", source="Loshchilov & Hutter (2019), arXiv:1711.05101", private=False)
