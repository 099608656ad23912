"""The other workers on the same Redis: who they are, which of them leads, and what they tell each other."""
