"""The pages of docs/, the README and similar files."""
