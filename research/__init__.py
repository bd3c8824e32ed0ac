"""Studies of rrn and what they share; nothing in the library, the program or the package imports it."""
