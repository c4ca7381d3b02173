"""How well a written answer matches the right ones: exact match and token F1, as SQuAD defines them.

Both texts are compared without case, punctuation, articles and extra blanks; of several right answers the best counts
(Rajpurkar et al., 2016, arXiv:1606.05250). DROP's rules about numbers and several spans are not applied: as in the MeZO
paper, each of its spans is a right answer.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def normalised(text: str) -> str:
    """Return a text in small letters without punctuation, English articles and extra blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, reference: str) -> float:
    """Return 1 where the normalised texts are equal, else 0."""
    return float(normalised(answer) == normalised(reference))


def token_f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall of the normalised words; two empty texts agree."""
    given, right = normalised(answer).split(), normalised(reference).split()
    if not given or not right:
        return float(given == right)
    common = sum((Counter(given) & Counter(right)).values())
    return 2.0 * common / (len(given) + len(right))


def mean_score(
    score: Callable[[str, str], float], answers: Sequence[str], references: Sequence[Sequence[str]]
) -> float:
    """Return the mean over answers of the best score against any of an answer's references.

    ValueError if there are no answers, not one list of references for each, or an empty list.
    """
    if len(answers) != len(references) or not answers or not all(references):
        raise ValueError(
            f"an answer with at least one reference is expected for each example; got {len(answers)} answers and "
            f"{len(references)} lists of references"
        )
    best = [max(score(answer, right) for right in of_one) for answer, of_one in zip(answers, references, strict=True)]
    return sum(best) / len(best)


TEXT_METRICS: dict[str | None, Callable[[str, str], float]] = {"exact-match": exact_match, "token-f1": token_f1}
