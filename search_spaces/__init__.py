"""What may vary from trial to trial: distributions, the space of a sweep, and how its trials are chosen.

From Python: `from search_spaces import Choice, Float, Int, Space`.
"""

from search_spaces.parameters import Choice, Float, Int
from search_spaces.space import Space

__all__ = ["Choice", "Float", "Int", "Space"]
