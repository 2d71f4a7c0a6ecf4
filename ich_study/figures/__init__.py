"""Tables and arrays to pictures."""
