"""The few rules of grammar that captions need."""


def with_article(phrase: str) -> str:
    """Return the phrase with `a` or `an` before it."""
    return f"an {phrase}" if phrase[0] in "aeiou" else f"a {phrase}"
