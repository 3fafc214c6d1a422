"""One module or package per outside system; each turns what it hears into core nouns."""
