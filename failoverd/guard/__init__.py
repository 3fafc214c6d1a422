"""At the disk: consistent copies of databases, proof that they open, and putting one in place.

Runs as a process of its own beside the data. It knows the nouns of the core and nothing of its verbs.
"""
