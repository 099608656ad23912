"""The wire: messages, error codes and close codes; no I/O."""
