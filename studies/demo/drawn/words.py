"""The few rules of grammar that captions need."""


def a(phrase: str) -> str:
    """Return the phrase behind its indefinite article."""
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"
