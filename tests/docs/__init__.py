"""The pages of docs/, the README and its like."""
