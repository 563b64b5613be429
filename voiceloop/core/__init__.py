"""Sans-I/O: decides who has the floor. Imports numpy and the standard library only; time is an argument."""
